"""In which order a stream visits its rows: a block shuffle, computed on the host from the key.

The rows are cut into blocks of neighbours. An epoch puts the blocks into an order drawn by the key
and takes them by the window: `window_blocks` of them at a time are in memory, and within the window
the rows are shuffled freely. A window is the unit of reading, a block the unit of seeking.

How good that is. Any row can come at any place of the epoch, each as likely as the others, but for
the shorter last block. What is not uniform are pairs: rows of one block always share a window. If
the file is sorted, so that a block holds rows all alike, a batch of B rows from a window of M
blocks has a mean whose variance is about 1 + (B - 1) / M times that of B independent rows (the
design effect of cluster sampling); if the file is in random order, it makes no difference. One
window that holds all rows is a full shuffle, in the very order that `array_batches` has.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.data.arrays import order_salts, shuffled
from vae_jax.types import Array, Key

Ints = np.ndarray[Any, Any]


class Blocks(NamedTuple):
    """num_rows rows in blocks of block_rows neighbours, window_blocks blocks to a window."""

    num_rows: int
    block_rows: int
    window_blocks: int

    @property
    def num_blocks(self) -> int:
        return -(-self.num_rows // self.block_rows)

    @property
    def num_windows(self) -> int:
        return -(-self.num_blocks // self.window_blocks)


class Epoch(NamedTuple):
    """The order of one epoch: window w covers the places starts[w] to starts[w + 1]."""

    blocks: Blocks
    order: Ints
    """The blocks as they come, [num_blocks]."""
    starts: Ints
    """[num_windows + 1]; a window that holds the last, shorter block is shorter."""
    salts: Ints
    """[num_windows, ROUNDS]."""

    def window(self, index: int) -> Ints:
        """The rows of one window in the order in which they come: [rows of the window]."""
        size, width = self.blocks.block_rows, self.blocks.window_blocks
        chosen = np.sort(self.order[index * width : (index + 1) * width])
        rows = (chosen[:, None] * size + np.arange(size)).ravel()
        rows = rows[rows < self.blocks.num_rows]
        return rows[permuted_on_host(self.salts[index], np.arange(len(rows)), len(rows))]


def epoch_order(rng: Key, epoch: int, blocks: Blocks) -> Epoch:
    """The order of an epoch, a function of (rng, epoch, blocks) alone."""
    block_salts, salts = _salts(rng, epoch, blocks.num_windows)
    order = np.arange(blocks.num_blocks)
    if blocks.num_windows > 1:
        order = permuted_on_host(block_salts, order, blocks.num_blocks)
    sizes = np.where(order == blocks.num_blocks - 1, _last_rows(blocks), blocks.block_rows)
    ends = np.cumsum(sizes)[blocks.window_blocks - 1 :: blocks.window_blocks]
    starts = np.concatenate([[0], ends, [blocks.num_rows]])[: blocks.num_windows + 1]
    return Epoch(blocks, order, starts, salts)


def permuted_on_host(salts: Ints, index: Ints, size: int) -> Ints:
    """`permuted` of arrays.py, to the same bits, in numpy: [...], int64."""
    salts = np.asarray(salts, np.uint32)
    index = shuffled(salts, index.astype(np.uint32), size)
    while (outside := index >= size).any():
        index[outside] = shuffled(salts, index[outside], size)
    return index.astype(np.int64)


def _last_rows(blocks: Blocks) -> int:
    return blocks.num_rows - (blocks.num_blocks - 1) * blocks.block_rows


def _salts(rng: Key, epoch: int, num_windows: int) -> tuple[Ints, Ints]:
    """Salts for the order of the blocks [ROUNDS] and of each window [num_windows, ROUNDS].

    On the CPU, where there is one: the accelerator is busy with training, and the answer would
    wait for it.
    """
    with jax.default_device(_host()):
        key = jax.random.wrap_key_data(
            jax.numpy.asarray(np.asarray(jax.random.key_data(rng))), impl=jax.random.key_impl(rng)
        )
        salts = np.asarray(_all_salts(key, epoch, num_windows))
    return salts[-1], salts[:num_windows]


@functools.partial(jax.jit, static_argnums=2)
def _all_salts(rng: Key, epoch: Array, num_windows: int) -> Array:
    """[num_windows + 1, ROUNDS], the blocks' salts last; one window has the epoch's key itself."""
    rng_epoch = jax.random.fold_in(rng, epoch)
    if num_windows == 1:
        return jax.numpy.tile(order_salts(rng_epoch), (2, 1))
    rngs = jax.vmap(lambda index: jax.random.fold_in(rng_epoch, index))(
        jax.numpy.arange(num_windows + 1)
    )
    return jax.vmap(order_salts)(rngs)


@functools.cache
def _host() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # no CPU platform was asked for: JAX_PLATFORMS=cuda
        return jax.local_devices()[0]
