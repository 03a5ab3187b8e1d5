"""Which files a reader was asked for, and its errors with the file's name in them."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

PathLike: TypeAlias = str | os.PathLike[str]
Paths: TypeAlias = PathLike | Sequence[PathLike]
"""A file, a folder, a pattern such as "shards/*.npy", or a list of these."""


def find_files(paths: Paths, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """The files that `paths` stands for, at least one, each ending in one of `suffixes`.

    A list keeps its order. Folders and patterns give their files sorted by name, character by
    character: number shards with leading zeros. Of a folder, hidden files and files of other kinds
    are left out.

    Raises:
        TypeError: `paths` holds something that is no path.
        FileNotFoundError: a path does not exist, or nothing fits.
        ValueError: a file is named whose kind cannot be read, or that is no regular file.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise TypeError(f"paths must be a path or a list of paths, got {paths!r}.")
    if not given:
        raise ValueError("paths is an empty list; name at least one file.")
    return tuple(path for item in given for path in _expand(item, tuple(suffixes)))


def _expand(item: object, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of one entry of a list of paths."""
    if not isinstance(item, str | os.PathLike) or not isinstance(os.fspath(item), str):
        raise TypeError(f"paths must be a path or a list of paths, got {item!r} in it.")
    text = str(os.fspath(item))
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path.")
    path, kinds = Path(text), ", ".join(suffixes)
    if path.is_file():
        if not path.name.lower().endswith(suffixes):
            raise ValueError(f"{path} is not of a kind that is read here: {kinds}.")
        return [path]
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    elif path.exists():
        raise ValueError(f"{path} is neither a regular file nor a folder.")
    elif glob.has_magic(text):
        found = sorted(map(Path, glob.glob(text)))
    else:
        raise FileNotFoundError(f"There is no file or folder {path}.")
    files = [each for each in found if each.name.lower().endswith(suffixes) and each.is_file()]
    if not files:
        raise FileNotFoundError(f"{path} has no file that ends in one of {kinds}.")
    return files


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Any error of a reader within the block, as an OSError or ValueError that names `path`.

    Readers of damaged files raise whatever their parsers do; a caller need know two kinds only.
    """
    try:
        yield
    except OSError as error:
        if str(path) in str(error):
            raise
        raise OSError(f"{path} cannot be read: {error}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is damaged or not what its name says: {reason}") from error


def some(things: Sequence[object], most: int = 5) -> str:
    """The first few of `things` for a message, and how many are left."""
    rest = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + rest
