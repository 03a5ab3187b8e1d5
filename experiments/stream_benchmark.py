"""Training from files larger than memory would like, beside training on the same rows in memory.

The 784-400-40 VAE with Bernoulli pixels, batches of 100, on .npy shards of random pixels. In each
repeat both take their turn, so a machine that drifts hits them alike; speeds are medians, the ratio
is the median of the ratios within a repeat. Before each turn of the stream the files are dropped
from the system's cache where it allows that, so that they come from the disk.
"""

import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

import vae_jax as vj
from experiments.benchmark import machine, median, ratio, table
from experiments.command import run
from vae_jax.checks import check_count, check_positive

PIXELS, BATCH_SIZE, SHARD_BYTES = 784, 100, 2**26
GOAL = 0.9
"""Speed of the stream over that in memory, at least."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    size: float = 2.0
    """Size of the files in GB (1e9 bytes)."""
    folder: Path = Path(tempfile.gettempdir())
    """Where the files are written, in a folder of their own that is removed at the end."""
    steps: int = 1000
    """Training steps of each turn."""
    repeats: int = 3
    """Turns that each of the two gets."""
    dtype: Literal["float32", "uint8"] = "float32"
    """Type of the pixels in the files."""
    memory: bool = True
    """Train in memory too; without it the files may be larger than memory."""


@contextmanager
def shards(settings: Settings) -> Iterator[Path]:
    """A folder of .npy files of random bits, as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="vae_jax_stream_", dir=settings.folder))
    row_bytes = PIXELS * np.dtype(settings.dtype).itemsize
    left, bits = int(settings.size * 1e9) // row_bytes, np.random.default_rng(0)
    try:
        for place in range(-(-left * row_bytes // SHARD_BYTES)):
            rows = min(left, SHARD_BYTES // row_bytes)
            pixels = np.unpackbits(np.frombuffer(bits.bytes(rows * PIXELS // 8), np.uint8))
            np.save(
                folder / f"shard-{place:04}.npy",
                pixels.reshape(rows, PIXELS).astype(settings.dtype),
            )
            left -= rows
        yield folder
    finally:
        shutil.rmtree(folder)


def forget(folder: Path) -> bool:
    """Drops the files from the system's cache; whether that could be asked for."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_memory() -> float:
    """The most memory the process has had so far, in GB; NaN on Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def as_numbers(x: jax.Array) -> jax.Array:
    """The pixels as float32, made of them on the device."""
    return x.astype("float32")


class Turns(NamedTuple):
    """Both ways of training, each a call that does `steps` steps from the same state."""

    stream: Callable[[Path], object]
    memory: Callable[[jax.Array], object]


def turns(steps: int) -> Turns:
    """The 784-400-40 VAE and its two ways."""
    encoder, decoder = vj.MLPEncoder(40, (400,)), vj.MLPDecoder(PIXELS, (400,))
    parts = {"likelihood": vj.bernoulli(), "prior": vj.standard_normal(40)}
    vae = vj.build_vae(encoder, decoder, **parts, data_shape=(PIXELS,))
    loss_fn, rng = vj.make_elbo(vae), jax.random.key(0)
    start = vj.init_train_state(rng, vae.init, loss_fn, optax.adam(1e-4))
    in_memory = vj.array_batches(BATCH_SIZE)

    def batch_fn(data: jax.Array, rng: jax.Array, step: jax.Array) -> jax.Array:
        return as_numbers(in_memory(data, rng, step))

    def stream(folder: Path) -> object:
        files = vj.stream_files(folder, BATCH_SIZE)
        run = {"num_steps": steps, "transform": as_numbers}
        return jax.block_until_ready(vj.train_stream(start, rng, files, 1.0, **run))

    def memory(data: jax.Array) -> object:
        scan = vj.train_scan(start, rng, data, 1.0, batch_fn=batch_fn, num_steps=steps)
        return jax.block_until_ready(scan)

    return Turns(stream, memory)


def rate(turn: Callable[[Any], object], data: Any, steps: int) -> float:
    """Steps per second of one turn."""
    began = time.perf_counter()
    turn(data)
    return steps / (time.perf_counter() - began)


def main(settings: Settings) -> None:
    """Prints the table in markdown."""
    check_positive("size", settings.size)
    steps, repeats = check_count("steps", settings.steps), check_count("repeats", settings.repeats)
    both, rates = turns(steps), {"stream": list[float](), "memory": list[float]()}
    with shards(settings) as folder:
        both.stream(folder)  # compiles
        peak = peak_memory()
        if settings.memory:
            parts = [np.load(path) for path in sorted(folder.iterdir())]
            data = jax.numpy.asarray(np.concatenate(parts))
            del parts
            both.memory(data)
        for _ in range(repeats):
            cached = "no" if forget(folder) else "perhaps"
            rates["stream"].append(rate(both.stream, folder, steps))
            if settings.memory:
                rates["memory"].append(rate(both.memory, data, steps))
    measured = {name: each for name, each in rates.items() if each}
    row = [f"{settings.size:g} GB {settings.dtype}", f"{peak:.2f}", cached]
    row += [median(measured, name) for name in rates] + [ratio(measured, *rates), str(GOAL)]
    header = ["files", "peak memory of streaming (GB)", "files cached", "stream (steps/s)"]
    header += ["in memory (steps/s)", "ratio", "goal, at least"]
    print(table(f"{steps} steps a turn, {repeats} turns each:", header, [row]))
    print(f"\n{machine()}")


if __name__ == "__main__":
    run(main, Settings)
