"""Malformed files and texts by the thousand: an answer or an error of a known type, in time."""

import contextlib
import io
import signal
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fault_files import Target, make_targets
from experiments.fault_report import Outcome
from vae_jax.run_folder import load_run
from vae_jax.spec import from_text

KNOWN = (ValueError, TypeError, OSError)
SECONDS = 5
WORDS = (
    b"normal", b"(", b")", b"std=", b"1e999", b"-1", b"nan", b"[", b"]", b",", b"None", b"\x00",
    b"{", b"}", b'"', b"__import__('os')", b"lambda:0", b"9" * 400, b"MLPEncoder", b"latent_dim=",
    b"hidden=", b"standard_normal", b"*", b"**", b"=", b" ", b"\n", b"\xff\xfe", b"relu", b"1_0",
    b"vamp_prior", b"BoundedEncoder", b"encoder=", b"((((((((((", b"True", b"-inf", b"format",
)  # fmt: skip


class Late(Exception):
    """A reader took longer than `SECONDS`."""


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def late(number: int, frame: Any) -> None:
        raise Late(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def malformed(folder: Path, count: int, seed: int) -> list[Outcome]:
    """`count` inputs: for each file kind mutations of a sound file, and texts of parts."""
    if count == 0:
        return []
    folder.mkdir(parents=True)
    targets = make_targets(folder)
    run = folder / "run"
    targets.append(Target(run / "config.json", lambda path: load_run(path.parent)))
    rng = np.random.default_rng(seed)
    tally: Counter[str] = Counter()
    said: list[str] = []
    longest = 0.0
    share = count // (len(targets) + 1)
    tasks = [*targets, None]
    for target in tasks:
        times = share if target is not None else count - share * len(targets)
        content = target.path.read_bytes() if target else b"normal(std=0.1)"
        before = _listing(folder)
        for _ in range(times):
            began = time.perf_counter()
            became = _one(target, mutate(content, rng), said)
            longest = max(longest, time.perf_counter() - began)
            tally[became] += 1
        if target:
            target.path.write_bytes(content)
        if _listing(folder) != before:
            tally["bad"] += 1
            said.append("files appeared or vanished")
    good = (
        f"{tally['refused']:,} refused in words, {tally['read']:,} read; the longest took "
        f"{longest:.2f} s; nothing was written"
    )
    return [Outcome("malformed input to a reader", count, good, tally["bad"], "; ".join(said[:3]))]


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` changed one to four times: bytes set, pieces cut, doubled or made noise, words put
    in, now and then an archive around it that names a file outside."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        place, other = (int(n) for n in rng.integers(0, len(data) + 1, 2))
        low, high = min(place, other), min(max(place, other), min(place, other) + 64)
        kind = int(rng.integers(8))
        if kind == 0:
            data[low:high] = b""
        elif kind == 1:
            data[low:low] = data[low:high]
        elif kind == 2:
            data[low:low] = WORDS[int(rng.integers(len(WORDS)))]
        elif kind == 3:
            data[low:high] = rng.bytes(high - low)
        elif kind == 4:
            del data[low:]
        elif kind == 5 and data:
            for index in rng.integers(0, len(data), 3):
                data[int(index)] = int(rng.integers(256))
        elif kind == 6:
            data[low : low + 4] = np.uint32(rng.choice([0, 2**31 - 1, 2**32 - 1])).tobytes()
        elif rng.random() < 0.02:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("../outside.npy", bytes(data))
            data = bytearray(file.getvalue())
    return bytes(data)


def _one(target: Target | None, content: bytes, said: list[str]) -> str:
    try:
        with _in_time():
            if target is None:
                from_text(content.decode(errors="replace"))
            else:
                target.path.write_bytes(content)
                target.read(target.path)
        return "read"
    except KNOWN as error:
        return "refused" if str(error) else _bad(said, target, error)
    except Exception as error:
        return _bad(said, target, error)


def _bad(said: list[str], target: Target | None, error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    name = target.path.name if target else "from_text"
    said.append(f"{name}: {type(error).__name__} ({str(error)[:80]}) at {where.name}")
    return "bad"


def _listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.parent.rglob("*"))
