"""p(x | z): one function per family, each returning a record of pure functions of one example.

To add one: write a function that returns a `Likelihood`, name it in `__all__`, re-export it from
`vae_jax`, and add a row to LIKELIHOODS in tests/tables.py.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_positive
from vae_jax.gaussian import normal_log_prob
from vae_jax.types import Array, Key

__all__ = ["bernoulli", "normal", "squared_error"]


class Likelihood(NamedTuple):
    """p(x | theta), theta [D * P + S]: the decoder's output, then S learned parameters shared by
    all examples, which `build_vae` adds to params and appends.

    `sample` and `mean` return [D]; `log_prob(theta, x [D])` returns [], nats summed over D.
    """

    text: str
    """The call that makes this record, as `from_text` reads it; a record changed by `_replace`
    needs a text of its own, or a saved run would be rebuilt without the change."""
    num_params: int
    """P, the decoder's outputs per data dimension."""
    log_prob: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    sample: Callable[[Key, Array], Array]
    check: Callable[[np.ndarray], None]
    """Raises ValueError or TypeError for data outside the support."""
    shared: tuple[float, ...] = ()
    """Initial values of the S shared parameters."""


def bernoulli() -> Likelihood:
    """Independent bits: theta are logits, x lies in [0, 1].

        log p = sum_D x * theta - softplus(theta)

    stays finite where log(1 - sigmoid(theta)) is -inf (float32, theta > 17). For x strictly
    between 0 and 1 this is a cross-entropy, not a normalised density.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        return jnp.sum(x * theta - jax.nn.softplus(theta), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        return jax.random.bernoulli(rng, jax.nn.sigmoid(theta)).astype(theta.dtype)

    return Likelihood("bernoulli()", 1, log_prob, jax.nn.sigmoid, sample, _check_unit_interval)


def normal(std: float | None = None, *, initial_std: float = 0.1) -> Likelihood:
    """Independent Gaussians around theta: of the given `std`, or of one learned for all of x.

        log p = sum_D log N(x; theta, std^2)

    Without `std` the decoder's last parameter is the shared log-variance, learned from
    `initial_std`. It then needs no tuning: its optimum is the reconstruction error itself. Adam
    moves it by about its learning rate per step, hence a start nearer to a good reconstruction
    than to the data's spread.

    Raises:
        TypeError, ValueError: a standard deviation that is not a finite number above 0.
    Source: learned shared variance, Rybkin et al., arXiv:2006.13202.
    """
    shared: tuple[float, ...]
    if std is None:
        initial_std = check_positive("initial_std", initial_std)
        shared = (2.0 * math.log(initial_std),)
        text = "normal()" if initial_std == 0.1 else f"normal(initial_std={initial_std!r})"
    else:
        std = check_positive("std", std)
        fixed = 2.0 * math.log(std)
        shared, text = (), f"normal(std={std!r})"

    def split(theta: Array) -> tuple[Array, Array | float]:
        return (theta[..., :-1], theta[..., -1:]) if std is None else (theta, fixed)

    def log_prob(theta: Array, x: Array) -> Array:
        mean, logvar = split(theta)
        return jnp.sum(normal_log_prob(x, mean, jnp.asarray(logvar, mean.dtype)), axis=-1)

    def sample(rng: Key, theta: Array) -> Array:
        mean, logvar = split(theta)
        return mean + jnp.exp(0.5 * logvar) * jax.random.normal(rng, mean.shape, mean.dtype)

    return Likelihood(text, 1, log_prob, lambda theta: split(theta)[0], sample, _check_real, shared)


def squared_error() -> Likelihood:
    """The squared error that courses use for a likelihood: log_prob = -sum_D (x - theta)^2.

    It is a Gaussian of variance 1/2 less its constant, so not a density: the noise it stands for
    depends on beta (`teaching_std`), and `sample` returns the mean, as the courses do. Use it
    with `make_teaching`; for likelihoods in nats use `normal`.
    """

    def log_prob(theta: Array, x: Array) -> Array:
        return -jnp.sum(jnp.square(x - theta), axis=-1)

    return Likelihood(
        "squared_error()", 1, log_prob, lambda theta: theta, lambda _, theta: theta, _check_real
    )


def _check_real(x: np.ndarray) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"This likelihood is a density over real numbers, got data of type {x.dtype}; "
            f"convert and scale it first, e.g. x.astype('float32') / 255 for 8-bit images."
        )


def _check_unit_interval(x: np.ndarray) -> None:
    low, high = x.min(), x.max()
    if low < 0 or high > 1:
        raise ValueError(
            f"bernoulli() needs data in [0, 1], got values from {low:g} to {high:g}; "
            f"scale them (x / 255 for 8-bit images) or use normal()."
        )
