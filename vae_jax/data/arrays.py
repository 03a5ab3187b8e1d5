"""Batches of rows of an array, in an order that is a pure function of the key and the step."""

import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count
from vae_jax.types import Array, BatchFn, Key

ROUNDS = 8

Numbers = TypeVar("Numbers", Array, np.ndarray[Any, Any])


def array_batches(batch_size: int) -> BatchFn:
    """A `batch_fn` of rows of data [N, ...], epoch by epoch without replacement.

    Each epoch is N // batch_size steps over its own permutation; the N % batch_size rows left
    over are different ones in every epoch. Nothing is stored or sorted: a step computes its own
    rows from (rng, step), so a run can start or resume anywhere at no cost.

    Raises:
        TypeError, ValueError: `batch_size` is not a whole number of at least 1, or, when the
            batch_fn is called, more than N.
    """
    check_count("batch_size", batch_size)

    def batch_fn(data: Array, rng: Key, step: Array) -> Array:
        num_rows = jnp.shape(data)[0]
        if batch_size > num_rows:
            raise ValueError(f"batch_size is {batch_size}, the data has only {num_rows} rows.")
        epoch, place = jnp.divmod(step, num_rows // batch_size)
        positions = place * batch_size + jnp.arange(batch_size)
        return jnp.asarray(data)[permuted(jax.random.fold_in(rng, epoch), positions, num_rows)]

    return batch_fn


def permuted(rng: Key, index: Array, size: int) -> Array:
    """Where each `index` goes under a permutation of range(size) drawn by the key: [...], int32.

    Indices are written as (left, right) on a grid of about sqrt(size) rows and columns, and each
    half is shifted by a hash of the other, `ROUNDS` times: a Feistel network, so one-to-one
    whatever the hash. The grid has up to sqrt(size) cells too many; an index that lands there is
    sent through again until it comes back, which keeps it one-to-one on range(size).

    Source: Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, method 3.
    """
    salts = order_salts(rng)
    first = shuffled(salts, jnp.asarray(index, jnp.uint32), size)

    def outside(index: Array) -> Array:
        return jnp.any(index >= size)

    def again(index: Array) -> Array:
        return jnp.where(index >= size, shuffled(salts, index, size), index)

    return jax.lax.while_loop(outside, again, first).astype(jnp.int32)


def order_salts(rng: Key) -> Array:
    """What `permuted` takes from its key: [ROUNDS], uint32."""
    return jax.random.bits(rng, (ROUNDS,), jnp.uint32)


def shuffled(salts: Numbers, index: Numbers, size: int) -> Numbers:
    """One pass of `permuted` over the grid: [...] -> [...], uint32, for numpy and jax alike."""
    rows = math.isqrt(size - 1) + 1
    cols = -(-size // rows)
    left, right = index // cols, index % cols
    for i in range(0, ROUNDS, 2):
        left = (left + _hash(right ^ salts[i]) % rows) % rows
        right = (right + _hash(left ^ salts[i + 1]) % cols) % cols
    result: Numbers = left * cols + right
    return result


def _hash(bits: Numbers) -> Numbers:
    """A 32-bit mix in which every input bit moves every output bit (MurmurHash3's finaliser)."""
    bits = (bits ^ (bits >> 16)) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * np.uint32(0xC2B2AE35)
    result: Numbers = bits ^ (bits >> 16)
    return result
