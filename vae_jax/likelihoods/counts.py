"""Likelihoods of whole numbers: codes without an order, and counts without an end."""

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count
from vae_jax.likelihoods.record import Likelihood, check_whole
from vae_jax.numerics import log_factorial_rest, stirling_error
from vae_jax.types import Array, Key

LARGEST_RATE = 1e9
"""Draws are made at this rate at most: they pass through 32-bit whole numbers."""


def categorical(num_classes: int) -> Likelihood:
    """Independent codes x in {0, ..., C - 1}: theta are logits, [C, D] flattened, code 0 first.

        log p = sum_D theta[x] - logsumexp_C(theta)

    Codes are names, so their expectation means nothing: `mean` returns the most probable code
    (the lowest of equals). An affine encoder would take the codes for quantities: give it one
    that embeds them.

    Raises:
        TypeError, ValueError: `num_classes` is not a whole number of at least 2.
    """
    num_classes = check_count("num_classes", num_classes, 2)

    def logits(theta: Array) -> Array:
        return theta.reshape(*theta.shape[:-1], num_classes, -1)

    def log_prob(theta: Array, x: Array) -> Array:
        log_p = jax.nn.log_softmax(logits(theta), axis=-2)
        chosen = jnp.take_along_axis(log_p, x.astype(jnp.int32)[..., None, :], axis=-2)
        return jnp.sum(chosen, axis=(-2, -1))

    def mean(theta: Array) -> Array:
        return jnp.argmax(logits(theta), axis=-2).astype(theta.dtype)

    def sample(rng: Key, theta: Array) -> Array:
        return jax.random.categorical(rng, logits(theta), axis=-2).astype(theta.dtype)

    def check(x: np.ndarray) -> None:
        check_whole(text, x, num_classes - 1, "number the classes from 0, or set num_classes.")

    text = f"categorical(num_classes={num_classes})"
    return Likelihood(text, num_classes, log_prob, mean, sample, check)


def poisson() -> Likelihood:
    """Independent counts 0, 1, 2, ...: theta are log-rates.

        log p = sum_D x * theta - exp(theta) - log x!

    computed around t = theta - log x, as x (t - expm1(t)) less the logarithm of x!'s remainder, so
    that large counts keep their digits in float32. The rate is exp(theta) and must stay below
    3e38 (theta < 88).

    Source: the saddle-point form, Loader, "Fast and accurate computation of binomial
    probabilities", 2000.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        x = x.astype(theta.dtype)
        safe = jnp.maximum(x, 1.0)
        t = theta - jnp.log(safe)
        around = jnp.where(x > 0, x * (t - jnp.expm1(t)), -jnp.exp(theta))
        return jnp.sum(around - log_factorial_rest(x), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        rate = jnp.minimum(jnp.exp(theta), LARGEST_RATE)
        return jax.random.poisson(rng, rate).astype(theta.dtype)

    def check(x: np.ndarray) -> None:
        check_whole("poisson()", x, None, "for other numbers use normal().")

    return Likelihood("poisson()", 1, log_prob, jnp.exp, sample, check)


def negative_binomial() -> Likelihood:
    """Independent counts of variance mean + mean^2 / r: theta is log mean [D], then log r [D].

        log p = sum_D log Gamma(x + r) - log Gamma(r) - log x!
                      + r log(r / (r + mean)) + x log(mean / (r + mean))

    A Poisson whose rate is drawn from a Gamma of shape r; large r is the Poisson itself. The same
    as scipy.stats.nbinom(n=r, p=r / (r + mean)). Both logs must stay below 88.

    Source: the saddle-point form as in `poisson`.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        log_mean, log_r = jnp.split(theta, 2, axis=-1)
        return jnp.sum(_negative_binomial_log_prob(log_mean, log_r, x.astype(theta.dtype)), axis=-1)

    def mean(theta: Array) -> Array:
        return jnp.exp(theta[..., : theta.shape[-1] // 2])

    def sample(rng: Key, theta: Array) -> Array:
        rng_rate, rng_count = jax.random.split(rng)
        log_mean, log_r = jnp.split(theta, 2, axis=-1)
        log_rate = jax.random.loggamma(rng_rate, jnp.exp(log_r), dtype=theta.dtype)
        rate = jnp.minimum(jnp.exp(log_rate + log_mean - log_r), LARGEST_RATE)
        return jax.random.poisson(rng_count, rate).astype(theta.dtype)

    def check(x: np.ndarray) -> None:
        check_whole("negative_binomial()", x, None, "for other numbers use normal().")

    return Likelihood("negative_binomial()", 2, log_prob, mean, sample, check)


def _negative_binomial_log_prob(log_mean: Array, log_r: Array, x: Array) -> Array:
    """log p per dimension, in nats. With t = log(mean / x) and p = r / (x + r),

        -x log(1 - p + p exp(-t)) - r log(p + (1 - p) exp(t)) - log1p(x / r) / 2 + remainders

    whose first two terms are 0 at x = mean, where the Gammas as written are of size x log x.
    """
    positive, log_x, r = x > 0, jnp.log(jnp.maximum(x, 1.0)), jnp.exp(log_r)
    t, odds = log_mean - log_x, log_r - log_x
    around = -x * _log_mixed(odds, -t) - r * _log_mixed(-odds, t) - 0.5 * jax.nn.softplus(-odds)
    rest = stirling_error(x + r) - stirling_error(r) - log_factorial_rest(x)
    return jnp.where(positive, around, -r * jax.nn.softplus(log_mean - log_r)) + rest


def _log_mixed(odds: Array, t: Array) -> Array:
    """log(1 - p + p exp(t)) for p = sigmoid(odds), with all digits where it is near 0."""
    moved = jax.nn.sigmoid(odds) * jnp.expm1(jnp.minimum(t, 80.0))
    near = jnp.abs(moved) < 0.5
    far = jnp.logaddexp(-jax.nn.softplus(odds), t - jax.nn.softplus(-odds))
    return jnp.where(near, jnp.log1p(jnp.where(near, moved, 0.0)), far)
