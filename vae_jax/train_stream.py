"""Training from a stream: chunks read ahead by a thread, each trained on by one `train_scan`."""

import functools
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.data.stream import Stream
from vae_jax.train import TrainState, train_scan
from vae_jax.types import Array, BatchFn, Key, Metrics, ScheduleFn

Item = TypeVar("Item")
Placed = TypeVar("Placed")
Transform = Callable[[Array], Array]


class Chunk(NamedTuple):
    """The batches x [T, B, ...] of T steps, of which the first has the number `first` []."""

    x: Array
    first: Array


@functools.cache
def chunk_batches(transform: Transform | None = None) -> BatchFn:
    """A `batch_fn` whose data is a `Chunk`: the batch of the step, moved by `transform` if given.

    `transform` (x [B, ...] -> [B, ...], pure) becomes part of the compiled program. One transform
    has one batch_fn, so calling this again costs no compile.
    """

    def batch_fn(data: Chunk, rng: Key, step: Array) -> Array:
        x = data.x[step - data.first]
        return x if transform is None else transform(x)

    return batch_fn


def train_stream(
    state: TrainState,
    rng: Key,
    stream: Stream,
    beta: Any,
    *,
    num_steps: int,
    chunk_steps: int = 100,
    transform: Transform | None = None,
    schedule: ScheduleFn | None = None,
    ahead: int = 2,
    place: Callable[[Any], Array] = jax.device_put,
) -> tuple[TrainState, Metrics]:
    """`num_steps` steps on the batches of a stream -> (state, metrics [T]).

    It is `train_scan` with the same arguments, to the same bits where the batches are the same;
    pure but for reading. Steps count on from state.step, and so does the stream: a run cut in two
    is the same run. While a chunk of `chunk_steps` steps is trained on, a thread reads the next
    ones, up to `ahead` of them, and brings them to the device with `place`. Processes that share
    each batch pass `partial(jax.make_array_from_process_local_data, sharding)`. It runs in the
    thread, which a `with jax.default_device(...)` of the caller does not reach.

    Raises:
        TypeError, ValueError: counts that are none; anything that reading the stream raises.
    """
    check_count("num_steps", num_steps)
    step = int(state.step)
    lengths = chunk_lengths(step, num_steps, check_count("chunk_steps", chunk_steps))
    batch_fn, history = chunk_batches(transform), list[Metrics]()
    rng_rows, _ = jax.random.split(rng)  # as train_scan does: the key that its batch_fn gets
    chunks = stream.chunks(rng_rows, step, lengths)
    with closing(prefetch(chunks, place, check_count("ahead", ahead))) as placed:
        for length, x in zip(lengths, placed, strict=True):
            data = Chunk(x, jnp.int32(step))
            state, metrics = train_scan(
                state, rng, data, beta, batch_fn=batch_fn, num_steps=length, schedule=schedule
            )
            step += length
            if history:  # one chunk is under way, one waits: more would pile up in memory
                jax.block_until_ready(history[-1])
            history.append(metrics)
    return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *history)


def chunk_lengths(step: int, num_steps: int, chunk_steps: int) -> list[int]:
    """Lengths of the chunks from `step` on, cut where a run from step 0 is cut."""
    end, lengths = step + num_steps, list[int]()
    while step < end:
        lengths.append(min(chunk_steps - step % chunk_steps, end - step))
        step += lengths[-1]
    return lengths


def prefetch(
    items: Iterator[Item], place: Callable[[Item], Placed], ahead: int
) -> Generator[Placed]:
    """place(item) for each item, made by a thread that is up to `ahead` of them ahead.

    What the thread raises is raised here, in its turn. Close the generator (`contextlib.closing`)
    and the thread ends before close returns.
    """
    free, ready = threading.Semaphore(ahead), SimpleQueue[tuple[Placed | None, Any]]()
    stopped = threading.Event()

    def work() -> None:
        end: Any = StopIteration()
        try:
            while free.acquire() and not stopped.is_set():
                ready.put((place(next(items)), None))
        except BaseException as error:
            end = error
        finally:
            if isinstance(items, Generator):
                items.close()
            ready.put((None, end))

    thread = threading.Thread(target=work, name="vae_jax prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
            free.release()
    finally:
        stopped.set()
        free.release()
        thread.join()
