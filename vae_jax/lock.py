"""One process at a time in a run folder: a file that names the one, and that the system holds."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: the file's text alone decides
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"
BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other process can have `folder`, which is made if it is missing.

    The file `run.lock` names host and process, and the system's own lock on it (flock) ends with
    the process, however that ends: what it then leaves is stale, and is taken over and said so.
    Where files cannot be locked, and for a file of another host, the text decides.

    Raises:
        BlockingIOError: another process has the folder; the message names it.
        OSError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        yield  # what is wrong with it is for others to say
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(folder)
    except BlockingIOError:
        raise
    except OSError as error:
        raise type(error)(f"Cannot write the run folder {folder}: {error}") from error
    try:
        yield
    finally:
        # Unlinked while it is held: who waits for this file finds that it is no longer the folder's
        if _is_at(descriptor, folder / LOCK):
            (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def carry_over(moved: Path, folder: Path) -> None:
    """Brings the lock back, whose folder has been moved aside, into the new one.

    Raises:
        BlockingIOError: another process was faster.
    """
    if not (moved / LOCK).exists():
        return
    try:
        os.link(moved / LOCK, folder / LOCK)
    except FileExistsError:
        raise BlockingIOError(f"{folder} has just been taken by another process.") from None
    (moved / LOCK).unlink()


def _take(folder: Path) -> int:
    """The descriptor of the folder's lock file, which this process then holds."""
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            holds = _flock(descriptor)
            if holds and not _is_at(descriptor, path):
                os.close(descriptor)
                continue
            found = _text(descriptor)
            if holds is False or (found and not _is_stale(found, holds)):
                raise BlockingIOError(_refusal(folder, found))
            if found:
                print(
                    f"{path} was left by process {found.get('pid')} on {found.get('host')}, which "
                    f"has ended: taken over.",
                    flush=True,
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_self()).encode(), 0)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise


def _refusal(folder: Path, found: dict[str, Any]) -> str:
    host = found.get("host", "an unknown host")
    text = f"{folder} is in use by process {found.get('pid', '?')} on {host}: wait for it, stop it"
    if host == socket.gethostname():
        return f"{text}, or name another folder."
    return f"{text}, or, if it has ended, delete {folder / LOCK}."


def _flock(descriptor: int) -> bool | None:
    """Whether this process holds the file now; None where files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_stale(found: dict[str, Any], holds: bool | None) -> bool:
    """Whether the process that the text names is known to have ended."""
    if found.get("host") != socket.gethostname():
        return False
    if holds or found.get("boot") != _self()["boot"]:
        return True
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return False


def _self() -> dict[str, Any]:
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    return {"host": socket.gethostname(), "pid": os.getpid(), "boot": boot}


def _text(descriptor: int) -> dict[str, Any]:
    """What the file says, or nothing where it says nothing that makes sense."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
