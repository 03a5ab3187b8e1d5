"""Batches: what they hold, in which order, and that the order is a function of key and step."""

import jax
import numpy as np
import pytest
from helpers import assert_mean
from scipy import stats

import vae_jax
from vae_jax.data.arrays import permuted

RNG = jax.random.key(4)


def test_the_swiss_roll_is_on_its_curve():
    """x = t (cos t, sin t) / 15 with t = 15 |x| uniform on [1.5 pi, 4.5 pi)."""
    x = np.asarray(vae_jax.swiss_roll(RNG, 4000), np.float64)
    assert x.shape == (4000, 2)
    t = 15 * np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(x, np.stack([t * np.cos(t), t * np.sin(t)], 1) / 15, atol=2e-6)
    assert t.min() >= 1.5 * np.pi - 1e-5
    assert t.max() <= 4.5 * np.pi + 1e-5
    assert np.abs(x).max() <= 1
    assert stats.kstest(t, stats.uniform(1.5 * np.pi, 3 * np.pi).cdf).pvalue > 1e-3
    assert_mean(t, 3 * np.pi)


def test_swiss_roll_batches_are_fresh_at_every_step():
    """batch_fn(None, rng, t) [B, 2] is a function of key and step; its data is ignored."""
    batch_fn = vae_jax.swiss_roll_batches(5)
    x = [np.asarray(batch_fn(None, RNG, step)) for step in (0, 1, 0)]
    assert x[0].shape == (5, 2)
    np.testing.assert_array_equal(x[0], x[2])
    assert not np.intersect1d(x[0], x[1]).size
    assert not np.array_equal(x[0], batch_fn(None, jax.random.key(5), 0))
    np.testing.assert_array_equal(x[0], batch_fn(np.ones(3), RNG, 0))


def rows(num_rows, batch_size, steps, rng=RNG):
    """The row numbers [T, B] of these steps."""
    batch_fn = vae_jax.array_batches(batch_size)
    data = np.arange(num_rows)
    return np.asarray(jax.jit(jax.vmap(batch_fn, (None, None, 0)))(data, rng, np.asarray(steps)))


@pytest.mark.parametrize(("num_rows", "batch_size"), [(12, 4), (13, 4), (5, 5), (7, 1), (100, 9)])
def test_an_epoch_holds_every_row_at_most_once(num_rows, batch_size):
    """N // B batches of distinct rows: all N where B divides N; other epochs, other orders."""
    per_epoch = num_rows // batch_size
    epochs = rows(num_rows, batch_size, range(6 * per_epoch)).reshape(6, per_epoch * batch_size)
    for epoch in epochs:
        assert len(np.unique(epoch)) == len(epoch)
        assert 0 <= epoch.min() <= epoch.max() < num_rows
    assert len(np.unique(epochs, axis=0)) == 6
    if num_rows % batch_size:
        assert len(np.unique(epochs)) == num_rows, "the rows left out change from epoch to epoch"


def test_the_order_can_be_entered_anywhere():
    """The rows of step t do not depend on the steps before it, and follow the key."""
    whole = rows(13, 4, range(9))
    np.testing.assert_array_equal(rows(13, 4, [7, 8]), whole[7:])
    np.testing.assert_array_equal(rows(13, 4, [3]), whole[3:4])
    assert not np.array_equal(rows(13, 4, range(9), jax.random.key(0)), whole)


def test_batches_keep_the_shape_and_type_of_the_rows():
    """data [N, ...] gives x [B, ...] of the same type."""
    images = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    batch = np.asarray(vae_jax.array_batches(2)(images, RNG, 0))
    assert (batch.shape, batch.dtype) == ((2, 3, 2), np.uint8)
    assert all(any(np.array_equal(row, image) for image in images) for row in batch)


def test_permuted_is_one_to_one_for_every_small_size():
    """permuted(rng, range(n), n) is range(n) in another order, n = 1 .. 40 and around squares."""
    edges = {k * k + d for k in (7, 8, 11, 14) for d in (-1, 0, 1)}
    with jax.disable_jit():
        for size in (*range(1, 41), *sorted(edges)):
            order = np.asarray(permuted(RNG, np.arange(200, dtype=np.uint32) % size, size))
            np.testing.assert_array_equal(np.sort(order[:size]), np.arange(size))


@pytest.mark.parametrize("size", [1000, 4097, 60_000, 65_536])
def test_permuted_is_one_to_one_for_large_sizes(size):
    """A bijection of range(n) that leaves hardly any index where it was."""
    order = np.asarray(jax.jit(permuted, static_argnums=2)(RNG, np.arange(size), size))
    np.testing.assert_array_equal(np.sort(order), np.arange(size))
    assert np.sum(order == np.arange(size)) < 10
    assert abs(stats.spearmanr(order, np.arange(size)).statistic) < 4 / size**0.5


def orders(size, num):
    rngs = jax.random.split(jax.random.key(0), num)
    index = np.arange(size)
    return np.asarray(jax.jit(jax.vmap(lambda rng: permuted(rng, index, size)))(rngs))


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_is_equally_likely(size):
    """Chi-square over all n! orders of n rows, 6000 keys."""
    _, counts = np.unique(orders(size, 6000), axis=0, return_counts=True)
    counts = np.pad(counts, (0, np.prod(np.arange(1, size + 1)) - len(counts)))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_every_place_is_equally_likely_for_every_row():
    """Chi-square of row x place, and of the distance between rows that were neighbours."""
    order = orders(30, 3000)
    table = np.stack([np.bincount(places, minlength=30) for places in order.T])
    statistic = np.sum((table - 100) ** 2 / 100)
    assert stats.chi2(29 * 29).sf(statistic) > 1e-3
    apart = np.bincount((np.diff(order, axis=1) % 30).ravel(), minlength=30)[1:]
    assert stats.chisquare(apart).pvalue > 1e-3


@pytest.mark.parametrize("make", [vae_jax.array_batches, vae_jax.swiss_roll_batches])
@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "4", True])
def test_a_batch_size_must_be_a_count(make, batch_size):
    """batch_size is a whole number of at least 1."""
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        make(batch_size)


def test_a_batch_cannot_be_larger_than_the_data():
    """B > N is refused, with both numbers."""
    with pytest.raises(ValueError, match="batch_size is 8, the data has only 5 rows"):
        vae_jax.array_batches(8)(np.zeros((5, 2)), RNG, 0)


@pytest.mark.parametrize("num_points", [0, 2.5, None])
def test_a_number_of_points_must_be_a_count(num_points):
    """num_points is a whole number of at least 1."""
    with pytest.raises((ValueError, TypeError), match="num_points"):
        vae_jax.swiss_roll(RNG, num_points)
