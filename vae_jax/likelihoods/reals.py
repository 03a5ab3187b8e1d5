"""Likelihoods of real numbers: a location from the decoder, a scale given or learned."""

import math

import jax
import jax.numpy as jnp

from vae_jax.checks import check_positive
from vae_jax.gaussian import normal_log_prob
from vae_jax.likelihoods.record import Likelihood, check_real
from vae_jax.likelihoods.scale import INITIAL, Learned, make_scale
from vae_jax.types import Array, Key


def normal(
    std: float | None = None, *, initial_std: float = INITIAL, learned: Learned = "shared"
) -> Likelihood:
    """Independent Gaussians around theta: of the given `std`, or of one that is learned.

        log p = sum_D log N(x; theta, std^2)

    Without `std` theta ends in the log-variance: one for all of x ("shared"), one for each data
    dimension ("per_dim"), both learned from `initial_std`, or the decoder's second output
    ("decoder"). A shared one needs no tuning: its optimum is the reconstruction error itself.
    Adam moves it by about its learning rate per step, hence a start nearer to a good
    reconstruction than to the data's spread. With "decoder" the likelihood has no upper bound: it
    grows without limit where single points are reconstructed exactly.

    Raises:
        TypeError, ValueError: a standard deviation that is not a finite number above 0, an
            unknown `learned`, or one beside a given `std`.
    Source: learned shared variance, Rybkin et al., arXiv:2006.13202.
    """
    scale = make_scale("std", std, initial_std, learned, power=2.0)

    def log_prob(theta: Array, x: Array) -> Array:
        mean, logvar = scale.split(theta)
        return jnp.sum(normal_log_prob(x, mean, logvar), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        mean, logvar = scale.split(theta)
        return mean + jnp.exp(0.5 * logvar) * jax.random.normal(rng, mean.shape, mean.dtype)

    return Likelihood(
        f"normal({scale.arguments})", scale.num_params, log_prob,
        lambda theta: scale.split(theta)[0], sample, check_real, scale.shared,
    )  # fmt: skip


def laplace(
    scale: float | None = None, *, initial_scale: float = INITIAL, learned: Learned = "shared"
) -> Likelihood:
    """Independent Laplace densities around theta; `scale` as `std` in `normal`, learned as a log.

        log p = sum_D -abs(x - theta) / scale - log(2 scale)

    The absolute error in nats: its optimum is the median, and outliers weigh less than in `normal`.

    Raises:
        TypeError, ValueError: as `normal`.
    """
    from_theta = make_scale("scale", scale, initial_scale, learned)

    def log_prob(theta: Array, x: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        distance = jnp.abs(x - location) * jnp.exp(-log_scale)
        return jnp.sum(-distance - log_scale - math.log(2.0), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        draw = jax.random.laplace(rng, location.shape, location.dtype)
        return location + jnp.exp(log_scale) * draw

    return Likelihood(
        f"laplace({from_theta.arguments})", from_theta.num_params, log_prob,
        lambda theta: from_theta.split(theta)[0], sample, check_real, from_theta.shared,
    )  # fmt: skip


def student_t(
    df: float,
    scale: float | None = None,
    *,
    initial_scale: float = INITIAL,
    learned: Learned = "shared",
) -> Likelihood:
    """Independent Student-t densities with `df` degrees of freedom around theta.

        log p = sum_D c(df) - log(scale) - (df + 1) / 2 * log(1 + ((x - theta) / scale)^2 / df)

    `scale` as in `laplace`; it is not the standard deviation, which is scale sqrt(df / (df - 2))
    for df > 2. `mean` returns theta, the mean for df > 1 and the median for every df.

    Raises:
        TypeError, ValueError: `df` is not a finite number above 0; the scale as in `normal`.
    """
    df = check_positive("df", df)
    from_theta = make_scale("scale", scale, initial_scale, learned)
    constant = _log_gamma_ratio(df) - 0.5 * math.log(2.0 * math.pi)

    def log_prob(theta: Array, x: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        y = (x - location) * jnp.exp(-log_scale) / math.sqrt(df)
        return jnp.sum(constant - log_scale - 0.5 * (df + 1.0) * _log1p_square(y), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        location, log_scale = from_theta.split(theta)
        draw = jax.random.t(rng, jnp.asarray(df, theta.dtype), location.shape, location.dtype)
        return location + jnp.exp(log_scale) * draw

    text = ", ".join(filter(None, (f"df={df!r}", from_theta.arguments)))
    return Likelihood(
        f"student_t({text})", from_theta.num_params, log_prob,
        lambda theta: from_theta.split(theta)[0], sample, check_real, from_theta.shared,
    )  # fmt: skip


def _log_gamma_ratio(df: float) -> float:
    """log Gamma((df + 1) / 2) - log Gamma(df / 2) - log(df / 2) / 2, which goes to 0."""
    if df > 1e6:  # two numbers of the size of df would cancel
        return -0.25 / df
    return math.lgamma(0.5 * (df + 1.0)) - math.lgamma(0.5 * df) - 0.5 * math.log(0.5 * df)


def _log1p_square(y: Array) -> Array:
    """log(1 + y^2) where y^2 may overflow."""
    large = jnp.abs(y) > 1.0
    inside, outside = jnp.where(large, 0.0, y), jnp.where(large, jnp.abs(y), 1.0)
    beyond = 2.0 * jnp.log(outside) + jnp.log1p(jnp.square(1.0 / outside))
    return jnp.where(large, beyond, jnp.log1p(jnp.square(inside)))


def squared_error() -> Likelihood:
    """The squared error that courses use for a likelihood: log_prob = -sum_D (x - theta)^2.

    It is a Gaussian of variance 1/2 less its constant, so not a density: the noise it stands for
    depends on beta (`teaching_std`), and `sample` returns the mean, as the courses do. Use it
    with `make_teaching`; for likelihoods in nats use `normal`.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        return -jnp.sum(jnp.square(x - theta), axis=-1)

    return Likelihood(
        "squared_error()", 1, log_prob, lambda theta: theta, lambda _, theta: theta, check_real
    )
