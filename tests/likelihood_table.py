"""What the likelihoods' contract suite runs over: a new one adds one row here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from references import classes, continuous_bernoulli, logistic_levels
from scipy import special, stats

import vae_jax


class LikelihoodRow(NamedTuple):
    make: Callable[[], vae_jax.Likelihood]
    theta: Callable[[int], np.ndarray]
    """D -> some decoder output [D * P + S]."""
    reference: Callable[[np.ndarray], Any] | None
    """theta -> scipy.stats distribution of each dimension; None: `log_prob` is not a density."""
    good: np.ndarray
    bad: tuple[np.ndarray, ...]
    step: float = 1.0
    """x is this times a value of the reference."""
    mean: Callable[[np.ndarray], np.ndarray] | None = None
    """theta -> what `mean` returns where that is not the expectation."""


def _theta(num_dims: int, *shared: float) -> np.ndarray:
    return np.append(np.linspace(-1.0, 2.0, num_dims), shared).astype(np.float32)


def _two(num_dims: int) -> np.ndarray:
    """Two parameters per dimension."""
    return np.append(_theta(num_dims), np.linspace(0.3, -1.5, num_dims, dtype=np.float32))


def _halves(theta: np.ndarray) -> Any:
    return np.split(np.asarray(theta, np.float64), 2)


BITS = np.array([[0.0, 0.25, 1.0]], np.float32)
NOT_BITS = (np.array([[0.0, 1.5, 1.0]]), np.array([[-0.1, 0.5, 1.0]]), np.array([[0, 255, 1]]))
LEVELS = np.array([[0.0, 1.0, 77 / 255]], np.float32)
NOT_LEVELS = (*NOT_BITS, np.array([[0.0, 0.35, 1.0]]), np.array([[np.nan, 0.0, 1.0]]))
COUNTS = np.array([[0.0, 1.0, 40.0]], np.float32)
NOT_COUNTS = (np.array([[0.0, 0.5, 1.0]]), np.array([[0, -1, 1]]), np.array([[np.nan, 0.0, 1.0]]))
REALS = np.array([[-3.5, 0.0, 40.0]], np.float32)
NOT_REALS = (np.array([[1, 2, 3]]), np.array([[True, False, True]]))

LIKELIHOODS: dict[str, LikelihoodRow] = {
    "bernoulli": LikelihoodRow(
        make=vae_jax.bernoulli,
        theta=_theta,
        reference=lambda theta: stats.bernoulli(special.expit(theta)),
        good=BITS,
        bad=NOT_BITS,
    ),
    "continuous_bernoulli": LikelihoodRow(
        make=vae_jax.continuous_bernoulli,
        theta=_theta,
        reference=continuous_bernoulli,
        good=BITS,
        bad=NOT_BITS,
    ),
    "normal": LikelihoodRow(
        make=vae_jax.normal,
        theta=lambda num_dims: _theta(num_dims, np.log(0.3**2)),
        reference=lambda theta: stats.norm(theta[:-1], np.exp(theta[-1] / 2)),
        good=REALS,
        bad=NOT_REALS,
    ),
    "normal(std)": LikelihoodRow(
        make=lambda: vae_jax.normal(std=0.3),
        theta=_theta,
        reference=lambda theta: stats.norm(theta, 0.3),
        good=REALS,
        bad=NOT_REALS,
    ),
    "normal(per_dim)": LikelihoodRow(
        make=lambda: vae_jax.normal(learned="per_dim"),
        theta=_two,
        reference=lambda theta: stats.norm(_halves(theta)[0], np.exp(_halves(theta)[1] / 2)),
        good=REALS,
        bad=NOT_REALS,
    ),
    "normal(decoder)": LikelihoodRow(
        make=lambda: vae_jax.normal(learned="decoder"),
        theta=_two,
        reference=lambda theta: stats.norm(_halves(theta)[0], np.exp(_halves(theta)[1] / 2)),
        good=REALS,
        bad=NOT_REALS,
    ),
    "laplace": LikelihoodRow(
        make=vae_jax.laplace,
        theta=lambda num_dims: _theta(num_dims, np.log(0.3)),
        reference=lambda theta: stats.laplace(theta[:-1], np.exp(theta[-1])),
        good=REALS,
        bad=NOT_REALS,
    ),
    "student_t": LikelihoodRow(
        make=lambda: vae_jax.student_t(10.0),
        theta=lambda num_dims: _theta(num_dims, np.log(0.3)),
        reference=lambda theta: stats.t(10.0, theta[:-1], np.exp(theta[-1])),
        good=REALS,
        bad=NOT_REALS,
    ),
    "discretized_logistic": LikelihoodRow(
        make=vae_jax.discretized_logistic,
        theta=lambda num_dims: _theta(num_dims, np.log(0.3)),
        reference=lambda theta: logistic_levels(theta[:-1], theta[-1]),
        good=LEVELS,
        bad=NOT_LEVELS,
        step=1 / 255,
    ),
    "discretized_logistic(decoder)": LikelihoodRow(
        make=lambda: vae_jax.discretized_logistic(learned="decoder"),
        theta=_two,
        reference=lambda theta: logistic_levels(*_halves(theta)),
        good=LEVELS,
        bad=NOT_LEVELS,
        step=1 / 255,
    ),
    "beta_binomial": LikelihoodRow(
        make=vae_jax.beta_binomial,
        theta=_two,
        reference=lambda theta: stats.betabinom(255, *np.exp(_halves(theta))),
        good=LEVELS,
        bad=NOT_LEVELS,
        step=1 / 255,
    ),
    "categorical": LikelihoodRow(
        make=lambda: vae_jax.categorical(3),
        theta=lambda num_dims: np.sin(np.arange(3.0 * num_dims, dtype=np.float32)),
        reference=classes,
        good=np.array([[0, 2, 1]]),
        bad=(*NOT_COUNTS, np.array([[0, 3, 1]])),
        mean=lambda theta: theta.reshape(3, -1).argmax(axis=0),
    ),
    "poisson": LikelihoodRow(
        make=vae_jax.poisson,
        theta=_theta,
        reference=lambda theta: stats.poisson(np.exp(theta)),
        good=COUNTS,
        bad=NOT_COUNTS,
    ),
    "negative_binomial": LikelihoodRow(
        make=vae_jax.negative_binomial,
        theta=_two,
        reference=lambda theta: stats.nbinom(
            np.exp(_halves(theta)[1]), special.expit(_halves(theta)[1] - _halves(theta)[0])
        ),
        good=COUNTS,
        bad=NOT_COUNTS,
    ),
    "squared_error": LikelihoodRow(
        make=vae_jax.squared_error,
        theta=_theta,
        reference=None,
        good=REALS,
        bad=NOT_REALS,
    ),
}
