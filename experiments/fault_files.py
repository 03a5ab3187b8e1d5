"""Flipped bytes and cuts in the files of a run and in data files: seen, or without effect."""

import gzip
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.fault_problem import CHUNK, fit_once, rows
from experiments.fault_report import Outcome
from vae_jax.checkpoint import fingerprint, load_arrays
from vae_jax.data import load_table, read_idx
from vae_jax.opening import read_history
from vae_jax.run_folder import read_config

STEPS = 4 * CHUNK


class Target(NamedTuple):
    """A file, and what a user of it reads; None in `print_of` stands for no answer."""

    path: Path
    read: Callable[[Path], Any]
    is_data: bool = False
    """Numbers of the user's own: formats without a checksum cannot tell a changed one, but a run
    that is resumed can, by the fingerprint that it keeps."""


def make_targets(folder: Path) -> list[Target]:
    """A finished run with two checkpoints, and one data file of each kind."""
    run = folder / "run"
    for resume in (False, True):
        fit_once(run, resume, STEPS * (1 + resume))
    read: list[Target] = [
        Target(run / "checkpoint.safetensors", load_arrays),
        Target(run / "checkpoint.1.safetensors", load_arrays),
        Target(run / "config.json", lambda path: read_config(path.parent)),
        Target(run / "metrics.csv", lambda path: read_history(path.parent)),
    ]
    values = rows()
    np.save(folder / "a.npy", values)
    np.savez_compressed(folder / "a.npz", values)
    names = "\n".join(",".join(f"{v:.6g}" for v in row) for row in values)
    (folder / "a.csv").write_text("x,y,z\n" + names + "\n")
    idx = struct.pack(">BBBB2I", 0, 0, 8, 2, *values.shape) + values.astype(np.uint8).tobytes()
    (folder / "a-idx.gz").write_bytes(gzip.compress(idx, mtime=0))
    tables = ["a.npy", "a.npz", "a.csv"]
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        pass
    else:
        pq.write_table(pa.table({"x": values[:, 0], "y": values[:, 1]}), folder / "a.parquet")
        tables.append("a.parquet")
    read += [Target(folder / name, lambda path: load_table(path).rows, True) for name in tables]
    return [*read, Target(folder / "a-idx.gz", read_idx, True)]


def damage(folder: Path, flips: int, cuts: int, seed: int) -> list[Outcome]:
    """`flips` single bytes changed and `cuts` ends cut off, each in one file and undone again."""
    if not flips and not cuts:
        return []
    folder.mkdir(parents=True)
    targets = make_targets(folder)
    rng = np.random.default_rng(seed)
    return [
        _try(targets, kind, harm, count, rng)
        for kind, harm, count in (("byte flipped", _flip, flips), ("file cut", _cut, cuts))
        if count
    ]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    changed = content[place] ^ int(rng.integers(1, 256))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _try(
    targets: list[Target],
    kind: str,
    harm: Callable[[bytes, np.random.Generator], bytes],
    count: int,
    rng: np.random.Generator,
) -> Outcome:
    tally: Counter[str] = Counter()
    said = []
    for _ in range(count):
        target = targets[int(rng.integers(len(targets)))]
        content, wanted = target.path.read_bytes(), target.read(target.path)
        target.path.write_bytes(harm(content, rng))
        try:
            became = _judge(target, wanted)
        finally:
            target.path.write_bytes(content)
        tally[became] += 1
        if became.startswith("bad"):
            said.append(f"{target.path.name}: {became}")
    good = "; ".join(f"{n} {what}" for what, n in tally.items() if not what.startswith("bad"))
    bad = sum(n for what, n in tally.items() if what.startswith("bad"))
    return Outcome(f"{kind} in a checkpoint, config, metrics or data file", count, good, bad,
                   "; ".join(said[:3]))  # fmt: skip


def _judge(target: Target, wanted: Any) -> str:
    """What became of reading a damaged file."""
    try:
        found = target.read(target.path)
    except (ValueError, OSError) as error:
        known = str(target.path) in str(error) or str(target.path.parent) in str(error)
        return "refused by name" if known else f"bad: no name in {error!r}"
    except Exception as error:
        return f"bad: {type(error).__name__}: {error}"
    if _same(found, wanted):
        return "without effect"
    if target.is_data and fingerprint(found) != fingerprint(wanted):
        return "read as other numbers, which resuming refuses by the data's fingerprint"
    return "bad: passed unseen"


def _same(one: Any, other: Any) -> bool:
    if str(jax.tree.structure(one)) != str(jax.tree.structure(other)):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        else repr(a) == repr(b)
        for a, b in pairs
    )
