"""Streams: every row once an epoch, in an order of (key, step) alone, and training from them."""

import itertools
import subprocess
import sys
import threading
import tracemalloc

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, init_state
from scipy import stats

import vae_jax
from vae_jax.data import stream_batches, stream_files
from vae_jax.data.arrays import order_salts, permuted
from vae_jax.data.order import Blocks, epoch_order, permuted_on_host
from vae_jax.data.shards import open_shards, read_rows
from vae_jax.train_stream import chunk_batches, chunk_lengths, prefetch, train_stream

RNG = jax.random.key(4)


def write_shards(folder, rows, sizes):
    """`rows` cut into files of these numbers of rows; the last takes the rest."""
    folder.mkdir(exist_ok=True)
    for place, part in enumerate(np.split(rows, np.cumsum(sizes))):
        np.save(folder / f"shard-{place:03}.npy", part)
    return folder


@pytest.fixture
def numbered(tmp_path):
    """Shards of 103 rows [n, n + 0.5], of 40, 0, 1 and 62 rows."""
    rows = np.arange(103)[:, None] + np.array([0.0, 0.5])
    return write_shards(tmp_path / "shards", rows, [40, 0, 1])


def numbers(stream, first, lengths, rng=RNG):
    """The row numbers [T, B] of the steps from `first` on."""
    x = np.concatenate(list(stream.chunks(rng, first, lengths)))
    np.testing.assert_array_equal(x[..., 1], x[..., 0] + 0.5)
    return x[..., 0].astype(int)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 4097])
def test_the_host_permutes_as_the_device_does(size):
    """permuted_on_host has permuted's bits."""
    index = np.arange(size)
    salts = np.asarray(order_salts(RNG))
    np.testing.assert_array_equal(permuted_on_host(salts, index, size), permuted(RNG, index, size))


@pytest.mark.parametrize("shape", [(1, 1, 1), (10, 3, 2), (12, 3, 2), (100, 7, 4), (103, 1, 5)])
def test_an_epoch_is_a_permutation(shape):
    """All rows once; each window holds whole blocks; the windows cover the epoch."""
    blocks = Blocks(*shape)
    orders = []
    for epoch in range(4):
        found = epoch_order(RNG, epoch, blocks)
        windows = [found.window(index) for index in range(blocks.num_windows)]
        np.testing.assert_array_equal(np.diff(found.starts), list(map(len, windows)))
        orders.append(np.concatenate(windows))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(blocks.num_rows))
        assert sum(len(set(window // blocks.block_rows)) for window in windows) == blocks.num_blocks
    if blocks.num_rows > 8:
        assert len(np.unique(orders, axis=0)) == 4


def test_each_window_has_an_order_of_its_own():
    """The ranks of the rows within a window are others in every window and epoch."""
    blocks = Blocks(120, 5, 4)
    windows = [epoch_order(RNG, epoch, blocks).window(w) for epoch in (0, 1) for w in range(6)]
    assert len({tuple(np.argsort(window)) for window in windows}) == 12


def test_every_place_is_equally_likely_for_every_row():
    """Chi-square of row x place over 3000 epochs, where all blocks are of one length."""
    blocks = Blocks(24, 3, 2)
    epochs = [epoch_order(RNG, epoch, blocks) for epoch in range(3000)]
    order = np.array([np.concatenate([e.window(w) for w in range(4)]) for e in epochs])
    table = np.stack([np.bincount(rows, minlength=24) for rows in order.T])
    assert stats.chi2(23 * 23).sf(np.sum((table - 125) ** 2 / 125)) > 1e-3


def test_sorted_data_costs_what_the_docstring_says():
    """Variance of a batch mean over that of independent rows is 1 + (B - 1) / M, within 5 %."""
    batch, per_window = 40, 20
    blocks = Blocks(16_000, 50, per_window)
    labels = np.random.default_rng(0).normal(size=blocks.num_blocks)
    means = []
    for epoch in range(60):
        found = epoch_order(RNG, epoch, blocks)
        order = np.concatenate([found.window(index) for index in range(blocks.num_windows)])
        means.append(labels[order // 50].reshape(-1, batch).mean(axis=1))
    ratio = np.var(means) * batch / labels.var()
    # both the windows and the batches within one are drawn without replacement
    blocks_left, rows_left = 1 - per_window / blocks.num_blocks, 1 - batch / (50 * per_window)
    expected = rows_left + batch / per_window * blocks_left
    np.testing.assert_allclose(ratio, expected, rtol=0.05)
    assert abs(expected / (1 + (batch - 1) / per_window) - 1) < 0.05


@pytest.mark.parametrize(
    "options", [{}, {"block_rows": 5, "window_blocks": 4}, {"block_rows": 103}]
)
def test_an_epoch_of_a_stream_holds_every_row_at_most_once(numbered, options):
    """N // B batches of distinct rows; the rows left out change."""
    stream = stream_files(numbered, 10, **options)
    assert stream.steps_per_epoch == 10
    epochs = numbers(stream, 0, [7, 1, 42]).reshape(5, 100)
    for epoch in epochs:
        assert len(np.unique(epoch)) == 100
    assert len(np.unique(epochs)) == 103
    assert len(np.unique(epochs, axis=0)) == 5


def test_a_stream_can_be_entered_anywhere(numbered):
    """The rows of step t follow from (key, t): chunks, start and workers do not matter."""
    options = {"block_rows": 5, "window_blocks": 3}
    stream = stream_files(numbered, 7, **options)
    whole = numbers(stream, 0, [45])
    for first, lengths in ((0, [1] * 45), (13, [20, 12]), (14, [1]), (44, [1])):
        expected = whole[first : first + sum(lengths)]
        np.testing.assert_array_equal(numbers(stream, first, lengths), expected)
    threaded = stream_files(numbered, 7, **options, workers=3)
    np.testing.assert_array_equal(numbers(threaded, 3, [42]), whole[3:])
    assert not np.array_equal(numbers(stream, 0, [45], jax.random.key(0)), whole)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_processes_share_the_batches_of_one(numbered, count):
    """Side by side, the parts of all processes are the batches of a single one."""
    options = {"block_rows": 4, "window_blocks": 5}
    whole = numbers(stream_files(numbered, 12, **options), 3, [11])
    parts = [
        stream_files(numbered, 12, **options, process_index=index, process_count=count)
        for index in range(count)
    ]
    shares = [numbers(part, 3, [11]) for part in parts]
    assert {share.shape for share in shares} == {(11, 12 // count)}
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_one_window_is_the_order_of_an_array(numbered):
    """A stream whose window holds all rows gives the batches of `array_batches`, bit for bit."""
    batch_fn = vae_jax.array_batches(10)
    expected = [np.asarray(batch_fn(np.arange(103), RNG, step)) for step in range(8, 22)]
    np.testing.assert_array_equal(numbers(stream_files(numbered, 10), 8, [14]), expected)


@pytest.mark.parametrize(("given", "kept"), [("u1", "u1"), ("?", "?"), ("f8", "f4"), (">i8", "f4")])
def test_streams_give_few_types(tmp_path, given, kept):
    """uint8 and booleans as they are, other numbers as float32, images in their shape."""
    rows = np.arange(24).reshape(6, 2, 2).astype(given)
    folder = write_shards(tmp_path / "s", rows, [2])
    (chunk,) = stream_files(folder, 6).chunks(RNG, 0, [1])
    assert (chunk.shape, chunk.dtype) == ((1, 6, 2, 2), np.dtype(kept))
    np.testing.assert_array_equal(np.sort(chunk[0], axis=0), np.sort(rows, axis=0).astype(kept))


def test_rows_are_read_across_files(numbered):
    """read_rows is fancy indexing of all files at once."""
    shards = open_shards(numbered)
    rows = np.array([0, 1, 38, 39, 40, 41, 42, 100, 102])
    np.testing.assert_array_equal(read_rows(shards, rows)[:, 0], rows)
    assert read_rows(shards, rows[:0]).shape == (0, 2)
    path = shards.paths[-1]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="became shorter"):
        read_rows(shards, rows)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        read_rows(shards, rows)


def test_shards_must_fit_together(tmp_path):
    """One row shape and type, rows in C order, at least one."""
    folder = write_shards(tmp_path / "s", np.zeros((4, 3), np.float32), [2])
    for rows, message in (
        (np.zeros((4, 2), np.float32), r"rows float32\[2\], .* has float32\[3\]"),
        (np.zeros((4, 3)), r"rows float64\[3\]"),
        (np.asfortranarray(np.zeros((4, 3), np.float32)), "Fortran order"),
        (np.float32(3), "no rows one after another"),
    ):
        np.save(folder / "shard-001.npy", rows)
        with pytest.raises(ValueError, match=message):
            open_shards(folder)
    np.save(tmp_path / "e.npy", np.zeros((0, 3)))
    with pytest.raises(ValueError, match="no rows"):
        open_shards(tmp_path / "e.npy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 104}, "batch_size is 104, the data has only 103"),
        ({"batch_size": 0}, "batch_size"),
        ({"block_rows": 0}, "block_rows"),
        ({"window_blocks": 0}, "window_blocks"),
        ({"workers": 0}, "workers"),
        ({"process_count": 3}, "process 0 of 3 and batches of 10"),
        ({"process_count": 2, "process_index": 2}, "process 2 of 2"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(numbered, options, message):
    """With the numbers that do not fit."""
    with pytest.raises(ValueError, match=message):
        stream_files(numbered, **{"batch_size": 10, **options})


def files_of(tiny, folder):
    """The data of the small problem as shards, and a stream that has it in one window."""
    write_shards(folder, np.asarray(tiny.data), [10, 20])
    return stream_files(folder, 8)


@pytest.mark.usefixtures("optimised")
def test_training_from_files_is_training_in_memory(own_tiny, tmp_path):
    """Parameters and metrics of train_stream are those of train_scan, bit for bit."""
    tiny, stream = own_tiny, files_of(own_tiny, tmp_path / "s")
    options = {"num_steps": 23}
    memory = vae_jax.train_scan(
        init_state(tiny), RNG, tiny.data, 0.5, batch_fn=tiny.batch_fn, **options
    )
    streamed = train_stream(init_state(tiny), RNG, stream, 0.5, chunk_steps=10, **options)
    chex.assert_trees_all_equal(arrays(streamed[0]), arrays(memory[0]))
    chex.assert_trees_all_equal(streamed[1], memory[1])


def test_a_stream_cut_in_two_is_one_run(tiny, tmp_path):
    """Stopped in the middle of an epoch and of a window, it goes on as if it had not been."""
    write_shards(tmp_path / "s", np.asarray(tiny.data), [10, 20])
    stream = stream_files(tmp_path / "s", 8, block_rows=2, window_blocks=3)
    run = {"rng": RNG, "stream": stream, "beta": 1.0, "chunk_steps": 10}
    whole, metrics = train_stream(init_state(tiny), num_steps=23, **run)
    half, first = train_stream(init_state(tiny), num_steps=6, **run)
    rest, second = train_stream(half, num_steps=17, **run)
    chex.assert_trees_all_equal(arrays(rest), arrays(whole))
    joined = np.concatenate([first["loss"], second["loss"]])
    np.testing.assert_array_equal(joined, metrics["loss"])


def test_a_transform_is_part_of_the_program(tiny, tmp_path):
    """transform(x) is what the loss sees; the same transform is compiled once."""
    learned = vae_jax.learn_standardization(np.asarray(tiny.data))
    stream = files_of(tiny, tmp_path / "s")
    data = learned.apply(tiny.data)
    memory, _ = vae_jax.train_scan(
        init_state(tiny), RNG, data, 1.0, batch_fn=tiny.batch_fn, num_steps=7
    )
    run = {"num_steps": 7, "transform": learned.apply}
    streamed, _ = train_stream(init_state(tiny), RNG, stream, 1.0, **run)
    chex.assert_trees_all_close(arrays(streamed), arrays(memory), rtol=1e-5)
    assert chunk_batches(learned.apply) is chunk_batches(learned.apply)


def batches(num, batch_size=8):
    """`num` batches of three columns, all different."""
    return list(np.random.default_rng(0).normal(size=(num, batch_size, 3)).astype(np.float32))


def test_training_from_an_iterable(tiny):
    """A list, a generator and a function of the step give the same run, whole or cut in two."""
    held = batches(12)
    run = {"rng": RNG, "beta": 1.0, "chunk_steps": 5}
    whole, _ = train_stream(init_state(tiny), stream=stream_batches(held), num_steps=12, **run)
    once = stream_batches(x for x in held)
    streamed, _ = train_stream(init_state(tiny), stream=once, num_steps=12, **run)
    chex.assert_trees_all_equal(arrays(streamed), arrays(whole))
    half, _ = train_stream(init_state(tiny), stream=stream_batches(held), num_steps=7, **run)
    for rest in (stream_batches(held, skip=True), stream_batches(lambda step: held[step:])):
        end, _ = train_stream(half, stream=rest, num_steps=5, **run)
        chex.assert_trees_all_equal(arrays(end), arrays(whole))
    with pytest.raises(ValueError, match="cannot begin at step 7"):
        train_stream(half, stream=stream_batches(held), num_steps=5, **run)


def test_an_iterable_begins_again_if_it_can():
    """A list goes round, a generator ends with the step at which it did."""
    held = batches(3)
    (x,) = stream_batches(held).chunks(RNG, 0, [8])
    np.testing.assert_array_equal(x, [held[step % 3] for step in range(8)])
    for source in ((each for each in held), []):
        with pytest.raises(ValueError, match=r"no more batches at step [30]"):
            list(stream_batches(source).chunks(RNG, 0, [2, 2]))


@pytest.mark.parametrize(
    ("held", "error", "message"),
    [
        ([np.zeros((2, 3)), np.zeros((1, 3))], ValueError, r"step 1 is float32\[1, 3\], those"),
        ([np.zeros((2, 3)), np.zeros((2, 3), "u1")], ValueError, "step 1 is uint8"),
        ([(np.zeros(2), np.zeros(2))], TypeError, "step 0 is a tuple"),
        ([np.array(["a"])], TypeError, "step 0 is <U1"),
        ([3.0], TypeError, r"float64\[\]"),
    ],
)
def test_batches_that_are_none_are_refused(held, error, message):
    """With the step and what was got."""
    with pytest.raises(error, match=message):
        list(stream_batches(held).chunks(RNG, 0, [2]))
    with pytest.raises(TypeError, match="got 3"):
        stream_batches(3)


def test_chunks_are_cut_where_a_whole_run_is():
    """Borders at multiples of the chunk, whatever the first step."""
    assert chunk_lengths(0, 23, 10) == [10, 10, 3]
    assert chunk_lengths(6, 17, 10) == [4, 10, 3]
    assert chunk_lengths(6, 2, 10) == [2]


def test_prefetch_reads_ahead_and_no_further():
    """In order; at most `ahead` items are made before they are asked for."""
    made, several = [], threading.Event()

    def source():
        for item in range(10):
            made.append(item)
            if item == 3:
                several.set()
            yield item

    items = prefetch(source(), lambda item: item * item, 3)
    assert next(items) == 0
    assert next(items) == 1
    assert several.wait(5)
    assert list(items) == [item * item for item in range(2, 10)]
    assert made == list(range(10))


def test_prefetch_is_bounded():
    """While the consumer holds the first item, only `ahead` are made."""
    made, blocked = [], threading.Event()

    def source():
        for item in itertools.count():
            made.append(item)
            yield item

    items = prefetch(source(), lambda item: item, 2)
    next(items)
    blocked.wait(0.05)
    assert len(made) <= 2
    items.close()


def test_prefetch_ends_with_its_consumer_and_passes_errors_on(numbered):
    """Closing it ends the thread and the readers; an error in the thread is raised here."""
    before = threading.active_count()
    stream = stream_files(numbered, 4, block_rows=2, window_blocks=2, workers=2)
    items = prefetch(stream.chunks(RNG, 0, [1] * 500), jax.device_put, 2)
    next(items)
    items.close()
    assert threading.active_count() == before

    def broken():
        yield 1
        raise OSError("disk gone")

    items = prefetch(broken(), lambda item: item, 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)
    assert threading.active_count() == before


def test_memory_is_that_of_a_few_windows(tmp_path):
    """An epoch of 32 MB is read with less than 2 MB at a time."""
    rows = np.zeros((4000, 256), np.float32)
    folder = write_shards(tmp_path / "s", rows, [1000] * 7)
    np.lib.format.open_memmap(folder / "shard-999.npy", "w+", np.float32, (28_000, 256)).flush()
    stream = stream_files(folder, 50, block_rows=20, window_blocks=10)
    chunks = stream.chunks(RNG, 0, [5] * (stream.steps_per_epoch // 5))
    next(chunks)
    tracemalloc.start()
    total = sum(chunk.nbytes for chunk in chunks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 30e6
    assert peak < 2e6


RESIDENT = """
import resource, sys, jax
from vae_jax.data import stream_files
stream = stream_files(sys.argv[1], 100)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
chunks = stream.chunks(jax.random.key(0), 0, [50] * (stream.steps_per_epoch // 50))
before, total = peak(), 0
for chunk in chunks: total += chunk.nbytes
print(total, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_resident_memory_is_bounded(tmp_path):
    """An epoch of 4 GB (files with holes, which take no disk) adds less than 300 MB."""
    for place in range(4):
        path = tmp_path / f"{place}.npy"
        np.lib.format.open_memmap(path, "w+", np.float32, (320_000, 784)).flush()
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    total, added = map(int, done.stdout.split())
    assert total > 4e9
    assert added < 300e6
