"""Likelihoods of levels: data k / top for whole k, such as 8-bit images divided by 255.

They are probabilities of the level k, not densities of x: bits per dimension are
-log_prob / (D log 2), with no term for the width of a level.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count
from vae_jax.likelihoods.record import Likelihood
from vae_jax.likelihoods.scale import INITIAL, Learned, make_scale
from vae_jax.numerics import log_factorial_rest, stirling_error
from vae_jax.types import Array, Key

TOP = 255
"""The highest of 256 levels."""


def discretized_logistic(
    scale: float | None = None, *, initial_scale: float = INITIAL, learned: Learned = "shared"
) -> Likelihood:
    """A logistic density around theta, integrated over each of the 256 levels x = k / 255.

        p(k) = sigmoid(b) - sigmoid(a),   a, b = (x -+ 1/510 - theta) / scale

    with a = -inf at x = 0 and b = inf at x = 1. Written as sigmoid(b) sigmoid(-a) (1 - exp(a - b)),
    which no rounding can make 0 or negative: its log and gradient are right in the far tails.
    `scale` as in `laplace`, in units of x. `mean` is the exact expectation, the sum over the
    levels' edges of the mass above them.

    Raises:
        TypeError, ValueError: as `normal`.
    Source: Kingma et al., arXiv:1606.04934, appendix; Salimans et al., arXiv:1701.05517, eq. 2.
    """
    from_theta, half = make_scale("scale", scale, initial_scale, learned), 0.5 / TOP

    def log_prob(theta: Array, x: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        x, inverse = x.astype(location.dtype), jnp.exp(-log_scale)
        below = jax.nn.log_sigmoid((x + half - location) * inverse)
        above = jax.nn.log_sigmoid((location - x + half) * inverse)
        inner = below + above + jnp.log(-jnp.expm1(-2.0 * half * inverse))
        return jnp.sum(jnp.where(x < half, below, jnp.where(x > 1 - half, above, inner)), axis=-1)

    def mean(theta: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        edges = jnp.asarray((np.arange(TOP) + 0.5) / TOP, location.dtype)
        edges = edges.reshape(-1, *[1] * location.ndim)
        return jnp.mean(jax.nn.sigmoid((location - edges) * jnp.exp(-log_scale)), axis=0)

    def sample(rng: Key, theta: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        draw = jax.random.logistic(rng, location.shape, location.dtype)
        return jnp.round(TOP * jnp.clip(location + jnp.exp(log_scale) * draw, 0.0, 1.0)) / TOP

    text = f"discretized_logistic({from_theta.arguments})"
    return Likelihood(
        text, from_theta.num_params, log_prob, mean, sample,
        lambda x: _check_levels(text, TOP, x), from_theta.shared,
    )  # fmt: skip


def beta_binomial(total: int = TOP) -> Likelihood:
    """Levels x = k / total, k being binomial with a probability drawn from Beta(alpha, beta).

        p(k) = C(total, k) B(k + alpha, total - k + beta) / B(alpha, beta)

    theta is log alpha [D], then log beta [D], both cut at +-60: there the family has reached its
    limits, a binomial and a coin between 0 and 1. Unlike the logistic it can be U-shaped.

    Raises:
        TypeError, ValueError: `total` is not a whole number of at least 1.
    """
    total = check_count("total", total)

    def split(theta: Array) -> tuple[Array, Array]:
        log_alpha, log_beta = jnp.split(jnp.clip(theta, -60.0, 60.0), 2, axis=-1)
        return log_alpha, log_beta

    def log_prob(theta: Array, x: Array) -> Array:
        ones = jnp.round(total * x.astype(theta.dtype))
        return jnp.sum(_beta_binomial_log_prob(*split(theta), ones, total - ones), axis=-1)

    def mean(theta: Array) -> Array:
        log_alpha, log_beta = split(theta)
        return jax.nn.sigmoid(log_alpha - log_beta)

    def sample(rng: Key, theta: Array) -> Array:
        rng_beta, rng_binomial = jax.random.split(rng)
        log_alpha, log_beta = split(theta)
        probability = jax.random.beta(rng_beta, jnp.exp(log_alpha), jnp.exp(log_beta))
        draw = jax.random.binomial(rng_binomial, float(total), probability, dtype=theta.dtype)
        return draw / total

    text = "beta_binomial()" if total == TOP else f"beta_binomial(total={total})"
    return Likelihood(text, 2, log_prob, mean, sample, lambda x: _check_levels(text, total, x))


def _beta_binomial_log_prob(log_alpha: Array, log_beta: Array, ones: Array, zeros: Array) -> Array:
    """log p per dimension, in nats, from counts.

    Each log-gamma is taken apart by Stirling's formula. What is left has the size of the counts,
    not of alpha log alpha, whose digits would otherwise cancel.
    """
    log_sum, total = jnp.logaddexp(log_alpha, log_beta), ones + zeros

    def part(log_a: Array, count: Array) -> Array:
        """log Gamma(a + count) - log Gamma(a) - count log(a + count) + count, a = exp(log_a)."""
        a, grown = jnp.exp(log_a), jnp.log1p(count * jnp.exp(-log_a))
        return (a - 0.5) * grown + stirling_error(a + count) - stirling_error(a)

    def log_share(log_a: Array, count: Array) -> Array:
        """count log((a + count) / (sum + total) * total / count), 0 for no count."""
        safe = jnp.maximum(count, 1.0)
        grown = (jnp.exp(log_a) + safe) * jnp.exp(-jnp.logaddexp(log_sum, jnp.log(total)))
        return count * jnp.log(grown * (total / safe))

    rest = log_factorial_rest(total) - log_factorial_rest(ones) - log_factorial_rest(zeros)
    shares = log_share(log_alpha, ones) + log_share(log_beta, zeros)
    parts = part(log_alpha, ones) + part(log_beta, zeros) - part(log_sum, total)
    return rest + shares + parts


def _check_levels(text: str, top: int, x: np.ndarray) -> None:
    """Raises ValueError unless x holds k / top for whole k from 0 to top."""
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):
        got = f"values from {low:g} to {high:g}"
    elif x.dtype.kind in "iub" or (off := np.abs(x * top - np.rint(x * top))).max() < 0.05:
        return
    else:
        got = f"{x.flat[off.argmax()]:g}"
    raise ValueError(
        f"{text} needs the levels 0, 1/{top}, ..., 1, got {got}; divide whole numbers from 0 to "
        f"{top} by {top} as float32, round x * {top} before that, or use normal()."
    )
