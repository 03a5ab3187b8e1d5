"""Likelihoods of data in [0, 1]: bits, and intensities between them."""

from functools import partial

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.record import Likelihood, check_unit_interval
from vae_jax.types import Array, Key


def bernoulli() -> Likelihood:
    """Independent bits: theta are logits, x lies in [0, 1].

        log p = sum_D x * theta - softplus(theta)

    stays finite where log(1 - sigmoid(theta)) is -inf (float32, theta > 17). For x strictly
    between 0 and 1 this is a cross-entropy, not a normalised density: see `continuous_bernoulli`.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        return jnp.sum(x * theta - jax.nn.softplus(theta), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        return jax.random.bernoulli(rng, jax.nn.sigmoid(theta)).astype(theta.dtype)

    check = partial(check_unit_interval, "bernoulli")
    return Likelihood("bernoulli()", 1, log_prob, jax.nn.sigmoid, sample, check)


def continuous_bernoulli() -> Likelihood:
    """Independent intensities in [0, 1] with density proportional to exp(x * theta).

        log p = sum_D x * theta - A(theta),   A(theta) = log((exp(theta) - 1) / theta)

    The Bernoulli's cross-entropy with the constant that makes it a density. theta = 0 is the
    uniform density, where A is 0 / 0 as written: a series stands in around it. The mean is the
    derivative of A; draws invert the distribution function, for -abs(theta), where nothing
    overflows, and mirror them.

    Source: Loaiza-Ganem and Cunningham, arXiv:1907.06845, eq. 6 to 8.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        return jnp.sum(x * theta - _log_integral(theta), axis=-1)

    def mean(theta: Array) -> Array:
        slope: Array = jax.grad(lambda t: jnp.sum(_log_integral(t)))(theta)
        return slope

    def sample(rng: Key, theta: Array) -> Array:
        uniform = jax.random.uniform(rng, theta.shape, theta.dtype)
        size = jnp.maximum(jnp.abs(theta), 1e-6)  # below, the density is uniform to 1e-6
        x = -jnp.log1p(uniform * jnp.expm1(-size)) / size
        return jnp.where(theta < 0, x, 1.0 - x)

    check = partial(check_unit_interval, "continuous_bernoulli")
    return Likelihood("continuous_bernoulli()", 1, log_prob, mean, sample, check)


def _log_integral(theta: Array) -> Array:
    """log of the integral of exp(x * theta) over x in [0, 1], per dimension."""
    small = jnp.abs(theta) < 0.5
    square = jnp.square(jnp.where(small, theta, 0.0))
    series = 0.5 * theta + square * (1 / 24 - square * (1 / 2880 - square / 181440))
    size = jnp.where(small, 1.0, jnp.abs(theta))
    exact = jax.nn.relu(theta) + jnp.log(-jnp.expm1(-size) / size)
    return jnp.where(small, series, exact)
