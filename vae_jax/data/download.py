"""One file from its public address to a path: checked, whole or absent, resumable."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT = 30.0
"""Seconds without an answer after which a server is taken to be away."""


def download(url: str, path: Path, checksum: str | None) -> None:
    """Fills `path` from `url`, if the file's `checksum` ("md5:...", "sha256:...") is right.

    What arrives goes to `path`.part, which a later call takes up where it ends; only a whole file
    with the right checksum gets the name `path`.

    Raises:
        ImportError: the downloader is not installed.
        OSError: the server cannot be reached, the transfer stopped, or the disk is full.
        ValueError: the file has another checksum; it is not kept.
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloading needs pooch: pip install 'vae_jax[images]', or fetch the file yourself."
        ) from error
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(url, checksum, fname=path.name, path=path.parent, downloader=_resuming(part))
    except ValueError as error:
        raise ValueError(
            f"{url} has not the checksum {checksum} that it should have, and was not kept: {error}"
        ) from error
    except OSError as error:
        kept = f" {part.stat().st_size} bytes are kept in {part}." if part.exists() else ""
        words = f"{url} could not be downloaded to {path}: {error}.{kept}"
        raise (OSError(error.errno, words) if error.errno else OSError(words)) from error


def _resuming(part: Path) -> Callable[[str, Any, Any], None]:
    """What pooch calls to fill its temporary file, by way of `part`."""

    def fill(url: str, output: Any, _: Any) -> None:
        if not _append(url, part):
            part.unlink(missing_ok=True)
            _append(url, part)
        os.replace(part, output)

    return fill


def _append(url: str, part: Path) -> bool:
    """Fetches what `part` lacks, all of it if the server cannot begin in the middle.

    False if the server has nothing from the end of `part` on.
    """
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if have and answer.status_code == 416:
            return False
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return False
        with open(part, "ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(2**14):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    return True
