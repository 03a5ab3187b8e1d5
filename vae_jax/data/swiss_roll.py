"""The two-dimensional Swiss roll: a curve that winds one and a half times around the origin."""

import math

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.types import Array, BatchFn, Key

T_RANGE = (1.5 * math.pi, 4.5 * math.pi)
"""The angles at which the roll begins and ends."""


def swiss_roll(rng: Key, num_points: int) -> Array:
    """Points [num_points, 2] on the roll, at angles drawn uniformly from `T_RANGE`.

    Raises:
        TypeError, ValueError: `num_points` is not a whole number of at least 1.
    """
    return roll_point(roll_angles(rng, num_points))


def roll_angles(rng: Key, num_points: int) -> Array:
    """Angles t [num_points] ~ 1.5 pi (1 + 2 u), u uniform on [0, 1)."""
    u = jax.random.uniform(rng, (check_count("num_points", num_points),))
    return 1.5 * math.pi * (1.0 + 2.0 * u)


def roll_point(t: Array) -> Array:
    """(t cos t, t sin t) / 15, the point at angle t: [...] -> [..., 2], within [-1, 1]."""
    return jnp.stack([t * jnp.cos(t), t * jnp.sin(t)], axis=-1) / 15.0


def swiss_roll_batches(batch_size: int) -> BatchFn:
    """A `batch_fn` of `batch_size` fresh points at every step; its `data` is ignored (pass None).

    Raises:
        TypeError, ValueError: `batch_size` is not a whole number of at least 1.
    """
    check_count("batch_size", batch_size)

    def batch_fn(data: object, rng: Key, step: Array) -> Array:
        return swiss_roll(jax.random.fold_in(rng, step), batch_size)

    return batch_fn
