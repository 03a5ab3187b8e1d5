"""What each chunk of a run is trained on: the same arrays again, or the next ones of a stream."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.data.stream import Stream
from vae_jax.inputs import check_inputs
from vae_jax.model import VAE
from vae_jax.train_stream import Chunk, chunk_batches, prefetch
from vae_jax.types import BatchFn, Key

AHEAD = 2
"""Chunks of a stream that are read ahead."""


class Feed(NamedTuple):
    """The data of a run, chunk by chunk."""

    batch_fn: BatchFn
    data: Callable[[int], Any]
    """length -> data of the next chunk, of that many steps"""
    shapes: Callable[[int], Any]
    """length -> the same, or its shapes, without going on"""


def array_feed(data: Any, batch_fn: BatchFn) -> Feed:
    """The same `data` for every chunk."""
    return Feed(batch_fn, lambda length: data, lambda length: data)


@contextmanager
def stream_feed(
    vae: VAE, stream: Stream, batch_fn: BatchFn | None, rng: Key, step: int, lengths: Sequence[int]
) -> Iterator[Feed]:
    """The chunks of the stream from `step` on, read ahead by a thread; `rng` is that of the run.

    Raises:
        TypeError, ValueError: the first batch is not as `vae` needs it, or `batch_fn` is not
            `chunk_batches(...)`; whatever reading raises.
    """
    batch_fn = chunk_batches() if batch_fn is None else batch_fn
    rng_rows, _ = jax.random.split(rng)  # as train_scan does: the key that its batch_fn gets
    chunks = prefetch(stream.chunks(rng_rows, step, lengths), jax.device_put, AHEAD)
    with closing(chunks):
        first = next(chunks, None)
        waiting = [] if first is None else [first]
        place = [step]
        if first is not None:
            check_inputs(vae, Chunk(first[:1], jnp.int32(0)), batch_fn, rng)

        def data(length: int) -> Chunk:
            x = waiting.pop() if waiting else next(chunks)
            place[0] += length
            return Chunk(x, jnp.int32(place[0] - length))

        def shapes(length: int) -> Any:
            if first is None:
                raise ValueError("There is nothing left to train.")
            x = jax.ShapeDtypeStruct((length, *first.shape[1:]), first.dtype)
            return Chunk(x, jax.ShapeDtypeStruct((), jnp.int32))  # type: ignore[arg-type]

        yield Feed(batch_fn, data, shapes)
