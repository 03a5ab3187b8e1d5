"""Batches of data that need not fit into memory, as chunks of steps for `train_scan`."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vae_jax.checks import check_count
from vae_jax.data.files import Paths
from vae_jax.data.order import Blocks, epoch_order
from vae_jax.data.shards import Shards, open_shards, read_rows
from vae_jax.types import Key

Rows: TypeAlias = np.ndarray[Any, Any]

BLOCK_BYTES = 2**17
"""A block is read at once; below about this size a disk seeks more than it reads."""
WINDOW_BLOCKS = 256


class Stream(NamedTuple):
    """Where batches come from, chunk by chunk.

    chunks(rng, first_step, lengths) gives one array [T, B, ...] for each T of `lengths`: the
    batches of the steps from first_step on. `rng` is the key that a `batch_fn` would get. For
    `stream_files` it is a function of its arguments and the files alone: a run that goes on at step
    t reads what it would have read, and nothing about the stream needs to be saved.
    """

    chunks: Callable[[Key, int, Sequence[int]], Iterator[Rows]]
    steps_per_epoch: int | None
    """None where the stream cannot know."""


class _Share(NamedTuple):
    """Which places of each batch are this process's: first <= place < last."""

    batch_size: int
    first: int
    last: int


def stream_files(
    paths: Paths,
    batch_size: int,
    *,
    block_rows: int | None = None,
    window_blocks: int = WINDOW_BLOCKS,
    workers: int = 1,
    process_index: int = 0,
    process_count: int = 1,
) -> Stream:
    """A stream of the rows of .npy files, epoch by epoch without replacement, shuffled by the key.

    Each epoch is N // batch_size steps over its own block shuffle, which `order.py` explains with
    how good it is; the N % batch_size rows left over are others in every epoch. `block_rows`
    neighbours (by default as many as fill `BLOCK_BYTES`) are read at once, `window_blocks` of them
    shuffled together: more is a better shuffle and takes more memory. If the files are sorted, the
    means of batches of 100 vary 1.4 times as much as with a full shuffle (variance, 256 blocks). In
    memory are workers + 2 windows and the chunks under way; `workers` threads read ahead.
    The order depends on (rng, batch_size, block_rows, window_blocks), never on `workers` or on
    `process_count`: process i reads and gives the i-th part of each batch, [T, B / count, ...].

    uint8 and booleans stay as they are, which keeps the way to the device short; other numbers
    become float32. Values are not looked at: NaN shows up in training.

    Raises:
        TypeError, ValueError: counts that are none, a batch larger than the data or that the
            processes cannot share evenly, or files that do not fit together (`open_shards`).
        OSError: a file is missing or cannot be read.
    """
    batch_size = check_count("batch_size", batch_size)
    workers = check_count("workers", workers)
    count = check_count("process_count", process_count)
    index = check_count("process_index", process_index, 0)
    if index >= count or batch_size % count:
        raise ValueError(
            f"process_index must be below process_count and divide batch_size evenly, got "
            f"process {index} of {count} and batches of {batch_size}."
        )
    shards = open_shards(paths)
    if batch_size > shards.num_rows:
        raise ValueError(f"batch_size is {batch_size}, the data has only {shards.num_rows} rows.")
    if block_rows is None:
        block_rows = max(1, BLOCK_BYTES // shards.row_bytes)
    blocks = Blocks(
        shards.num_rows,
        min(check_count("block_rows", block_rows), shards.num_rows),
        check_count("window_blocks", window_blocks),
    )
    part = batch_size // count
    share = _Share(batch_size, index * part, (index + 1) * part)

    def chunks(rng: Key, first_step: int, lengths: Sequence[int]) -> Iterator[Rows]:
        windows = _windows(rng, first_step, sum(lengths), blocks, share)
        loaded = _ahead(lambda rows: _load(shards, rows), windows, workers)
        return _gather(loaded, lengths, part)

    return Stream(chunks, shards.num_rows // batch_size)


def _windows(
    rng: Key, first_step: int, num_steps: int, blocks: Blocks, share: _Share
) -> Iterator[Rows]:
    """Row numbers as they are needed from first_step on, one window at a time."""
    per_epoch = blocks.num_rows // share.batch_size
    end = first_step + num_steps
    for epoch in range(first_step // per_epoch, -(-end // per_epoch)):
        first, last = (
            min(max(step - epoch * per_epoch, 0), per_epoch) * share.batch_size
            for step in (first_step, end)
        )
        order = epoch_order(rng, epoch, blocks)
        for index in range(blocks.num_windows):
            places = np.arange(order.starts[index], order.starts[index + 1])
            inside = places % share.batch_size
            needed = (places >= first) & (places < last)
            needed &= (inside >= share.first) & (inside < share.last)
            if needed.any():
                yield order.window(index)[needed]


def _load(shards: Shards, rows: Rows) -> tuple[Rows, Rows]:
    """Values in file order, and where among them each of `rows` is."""
    sorting = np.argsort(rows)
    places = np.empty_like(sorting)
    places[sorting] = np.arange(len(rows))
    return _as_kept(read_rows(shards, rows[sorting])), places


def _ahead(
    load: Callable[[Rows], Any], items: Iterable[Rows], workers: int
) -> Iterator[tuple[Rows, Rows]]:
    """load(item) for each item in order, `workers` of them under way."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="vae_jax reader") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(load, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _gather(
    loaded: Iterator[tuple[Rows, Rows]], lengths: Sequence[int], batch_size: int
) -> Iterator[Rows]:
    """The rows of the windows, one after another, cut into chunks [T, B, ...].

    Each chunk is new memory: on the CPU, the array that jax makes of it may share it.
    """
    values, places = next(loaded, (np.empty(0), np.empty(0, int)))
    for length in lengths:
        chunk = np.empty((length * batch_size, *values.shape[1:]), values.dtype)
        filled = 0
        while filled < len(chunk):
            if not len(places):
                values, places = next(loaded)
            now, places = np.split(places, [len(chunk) - filled])
            into = chunk[filled : filled + len(now)]
            np.take(values, now, axis=0, out=into, mode="clip")  # "raise" would buffer `out`
            filled += len(now)
        yield chunk.reshape(length, batch_size, *values.shape[1:])


def stream_batches(
    batches: Iterable[Any] | Callable[[int], Iterable[Any]], *, skip: bool = False
) -> Stream:
    """A stream of the batches [B, ...] that an iterable gives, all of one shape, in its own order.

    A list or a loader begins again when it ends; a generator cannot. The key is not used: whether a
    run repeats is up to the iterable. An iterable cannot be entered in the middle, so a run can
    only go on at a later step if `batches` is a function from that step to the iterable from
    there on, or with `skip`, which reads the earlier batches once more and throws them away.

    Raises (when read):
        ValueError, TypeError: batches that are not numbers or differ in shape or type; no more of
            them; a start in the middle without a way to do it.
    """
    if not callable(batches) and not isinstance(batches, Iterable):
        raise TypeError(f"batches must be an iterable or a function of the step, got {batches!r}.")

    def chunks(rng: Key, first_step: int, lengths: Sequence[int]) -> Iterator[Rows]:
        if callable(batches):
            source = iter(batches(first_step))
        elif first_step and not skip:
            raise ValueError(
                f"This stream cannot begin at step {first_step}: give stream_batches a function of "
                f"the step, or skip=True to read the earlier batches and throw them away."
            )
        else:
            source = itertools.islice(_again(batches), first_step, None)
        return _stack(source, first_step, lengths)

    return Stream(chunks, None)


def _again(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches over and over, if they can be; stops when there are none."""
    found = True
    while found:
        found = False
        for batch in batches:
            found = True
            yield batch
        if iter(batches) is batches:
            return


def _stack(source: Iterator[Any], step: int, lengths: Sequence[int]) -> Iterator[Rows]:
    """Batches [B, ...] as chunks [T, B, ...]; `step` is for messages."""
    form: Any = None
    for length in lengths:
        held = []
        for batch in itertools.islice(source, length):
            values = _as_kept(_batch(batch, step))
            form = form or (values.shape, values.dtype)
            if form != (values.shape, values.dtype):
                raise ValueError(
                    f"The batch of step {step} is {values.dtype}{list(values.shape)}, those before "
                    f"it are {form[1]}{list(form[0])}; drop a last, smaller one."
                )
            held.append(values)
            step += 1
        if len(held) < length:
            raise ValueError(f"There are no more batches at step {step}.")
        yield np.stack(held)


def _batch(batch: Any, step: int) -> Rows:
    if isinstance(batch, tuple | list | dict):
        raise TypeError(
            f"The batch of step {step} is a {type(batch).__name__}; give arrays [B, ...] alone."
        )
    values = np.asarray(batch)
    if values.dtype.kind not in "fiub" or values.ndim < 1:
        raise TypeError(f"The batch of step {step} is {values.dtype}{list(values.shape)}.")
    return values


def _as_kept(values: Rows) -> Rows:
    """uint8 and booleans as they are, other numbers as float32."""
    return values if values.dtype in (np.uint8, np.bool_) else values.astype(np.float32, copy=False)
