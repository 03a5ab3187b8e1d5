"""Distributions that scipy.stats lacks, with its methods, in float64."""

from typing import Any

import numpy as np
from scipy import special, stats


class Table:
    """A distribution over 0, 1, ..., as scipy.stats would give it: probabilities [D, K]."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.values = table, np.arange(table.shape[1])

    def pmf(self, x: np.ndarray) -> np.ndarray:
        return self.table[np.arange(len(self.table)), np.asarray(x, int)]

    def logpmf(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.pmf(x))

    def mean(self) -> np.ndarray:
        return self.table @ self.values

    def var(self) -> np.ndarray:
        return self.table @ self.values**2 - self.mean() ** 2

    def std(self) -> np.ndarray:
        return np.sqrt(self.var())

    def support(self) -> tuple[int, int]:
        return 0, len(self.values) - 1

    def rvs(self, size: Any, random_state: int) -> np.ndarray:
        uniform = np.random.default_rng(random_state).random(size)[..., None]
        return (uniform > np.cumsum(self.table, axis=1)[:, :-1]).sum(axis=-1)


def logistic_levels(location: np.ndarray, log_scale: np.ndarray) -> Table:
    edges = (np.arange(255) + 0.5) / 255
    above = stats.logistic.sf(edges, location[:, None], np.exp(log_scale)[..., None])
    return Table(-np.diff(above, axis=1, prepend=1.0, append=0.0))


def classes(theta: np.ndarray) -> Table:
    return Table(special.softmax(np.asarray(theta, np.float64).reshape(3, -1), axis=0).T)


class _ContinuousBernoulli(stats.rv_continuous):
    """The exponential density over [0, 1] with either sign of the slope, which scipy lacks."""

    def _argcheck(self, slope: Any) -> Any:
        return np.isfinite(slope)

    def _logpdf(self, x: Any, slope: Any) -> Any:
        return x * slope - np.log(np.expm1(slope) / slope)

    def _pdf(self, x: Any, slope: Any) -> Any:
        return np.exp(self._logpdf(x, slope))

    def _ppf(self, q: Any, slope: Any) -> Any:
        return np.log1p(q * np.expm1(slope)) / slope

    def _stats(self, slope: Any) -> Any:
        mean = -1 / np.expm1(-slope) - 1 / slope
        return mean, 1 / slope**2 - 0.25 / np.sinh(slope / 2) ** 2, None, None


continuous_bernoulli = _ContinuousBernoulli(a=0.0, b=1.0, name="continuous_bernoulli")
