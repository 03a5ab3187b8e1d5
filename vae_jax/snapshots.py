"""The last checkpoints of a run: the newest under its own name, those before it as NAME.1, ...

Only a file that is sound becomes an older one: a damaged newest checkpoint never takes the place of
the good one before it.
"""

import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checkpoint import encode, fit_tree, host_arrays, load_arrays, write_atomic

KEPT = 2
"""Checkpoints that are kept, the newest included."""

Arrays = dict[str, np.ndarray[Any, Any]]


def kept_paths(path: Path) -> list[Path]:
    """Where the checkpoints of `path` are, the newest first: "a.safetensors", "a.1.safetensors"."""
    older = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in range(1, KEPT))
    return [path, *older]


def any_kept(path: Path) -> bool:
    """Whether there is a checkpoint of `path`, damaged or not."""
    return any(each.is_file() for each in kept_paths(path))


def save_kept(path: Path, tree: Any) -> None:
    """Writes `tree` as the newest checkpoint of `path`; what was there is kept as the one before,
    unless it is damaged. At every moment there is at least one whole checkpoint.

    Raises:
        OSError: it cannot be written; all checkpoints are as they were.
    """
    keep_arrays(path, host_arrays(tree))


def keep_arrays(path: Path, arrays: Arrays) -> None:
    """`save_kept` of arrays that are on the host already.

    Raises:
        OSError: as `save_kept`.
    """
    write_atomic(path, encode(arrays), before=lambda: _shift(path))


def _shift(path: Path) -> None:
    """Each checkpoint becomes the one before, the oldest goes; the newest is there all the time."""
    paths = kept_paths(path)
    if not _is_sound(path):
        return
    for newer, older in reversed([*itertools.pairwise(paths)]):
        if newer != path:
            if newer.is_file():
                os.replace(newer, older)
            continue
        link = older.with_name(f".{older.name}.{os.getpid()}.tmp")
        try:
            link.unlink(missing_ok=True)
            os.link(newer, link)
            os.replace(link, older)
        except OSError:  # a file system without hard links: for a moment there is no newest one
            os.replace(newer, older)


def _is_sound(path: Path) -> bool:
    try:
        load_arrays(path)
    except (ValueError, OSError):
        return False
    return True


def newest_arrays(path: Path) -> tuple[Arrays, Path]:
    """The arrays of the newest checkpoint of `path` that is not damaged, and its file.

    Warns, naming it, of a damaged one that was passed over.

    Raises:
        FileNotFoundError: there is none.
        ValueError, OSError: all are damaged or cannot be read; what is said is of the newest.
    """
    found = [each for each in kept_paths(path) if each.is_file()]
    if not found:
        raise FileNotFoundError(f"There is no file {path}.")
    errors: list[ValueError | OSError] = []
    for each in found:
        try:
            arrays = load_arrays(each)
        except (ValueError, OSError) as error:
            errors.append(error)
            continue
        if errors:
            said = str(errors[0]).rstrip(".")
            warnings.warn(f"{said}. Used {each}, the one before it.", RuntimeWarning, stacklevel=3)
        return arrays, each
    raise errors[0]


def load_kept(path: Path, template: Any) -> Any:
    """The tree of the newest sound checkpoint of `path`, as `checkpoint.load_tree` gives it.

    Raises:
        FileNotFoundError, ValueError, OSError: as `newest_arrays`, or it does not fit `template`.
    """
    arrays, used = newest_arrays(path)
    return as_jax(fit_tree(used, arrays, template))


def as_jax(tree: Any) -> Any:
    """The tree with its numpy arrays as jax's; keys stay."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, tree)
