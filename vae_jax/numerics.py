"""Small numerical functions whose naive form loses digits."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from vae_jax.types import Array


def log_mean_exp(values: Array, axis: int = -1) -> Array:
    """log of the mean of exp(values) along `axis`, which is removed.

    With log-weights it turns K draws into an estimate of log p(x). Subtracting the maximum first
    keeps one term at exp(0) = 1, so the sum neither overflows nor vanishes.
    """
    count = values.shape[axis]
    if count == 0:
        raise ValueError(f"log_mean_exp needs at least one value along axis {axis}, got none.")
    return jax.nn.logsumexp(values, axis=axis) - jnp.log(count)


def stirling_error(a: Array) -> Array:
    """What Stirling's formula leaves of log Gamma(a), a > 0, elementwise.

        log Gamma(a) = (a - 1/2) log a - a + log(2 pi) / 2 + stirling_error(a)

    It goes to 0 as 1 / (12 a). Differences of log-gammas of large numbers are written with it,
    since in float32 the log-gammas themselves share all the digits that they have.

    Source: Abramowitz and Stegun, 6.1.41.
    """
    large = a > 4.0
    inverse = 1.0 / jnp.where(large, a, 4.0)
    square = jnp.square(inverse)
    tail = 1 / 1260 - square * (1 / 1680 - square / 1188)
    series = inverse * (1 / 12 - square * (1 / 360 - square * tail))
    small = jnp.where(large, 4.0, a)
    naive = gammaln(small) - (small - 0.5) * jnp.log(small) + small - 0.5 * math.log(2 * math.pi)
    return jnp.where(large, series, naive)


def log_factorial_rest(count: Array) -> Array:
    """log count! - count log count + count for whole numbers of at least 0, elementwise.

    What is left of log count! once the terms that cancel against other counts are taken out.
    """
    safe = jnp.maximum(count, 1.0)
    rest = 0.5 * jnp.log(2.0 * jnp.pi * safe) + stirling_error(safe)
    return jnp.where(count > 0, rest, 0.0)
