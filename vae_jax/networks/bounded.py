"""An encoder whose log-variance cannot run away."""

from typing import Any

import jax
from flax import linen as nn

from vae_jax.types import Array


def bounded(logvar: Array, low: float, high: float) -> Array:
    """logvar, smoothly kept within about [low, high]: [...] -> [...].

        low + softplus(high - low - softplus(high - logvar))

    It is logvar itself to exp(-distance) away from the bounds, and has a gradient everywhere: a
    clip would have none outside, so that what is out stays out. It can pass `high` by
    softplus's rounding only, exp(low - high).
    Source: the form of Chua et al., arXiv:1805.12114, appendix A.1.
    """
    upper = high - jax.nn.softplus(high - logvar)
    return low + jax.nn.softplus(upper - low)


class BoundedEncoder(nn.Module):
    """`encoder`, a Flax module, with its logvar in about [low, high]: (mean [Z], logvar [Z]).

    exp(logvar) in the KL is what overflows first when a run breaks: above 88 it is infinite in
    float32. The default lets the standard deviation lie between 0.007 and 55.
    """

    encoder: nn.Module
    low: float = -10.0
    high: float = 8.0

    @nn.compact
    def __call__(self, *example: Array) -> tuple[Any, Any]:
        """(mean, logvar) of one example.

        Raises:
            ValueError: `low` is not below `high`.
        """
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}.")
        mean, logvar = self.encoder(*example)
        return mean, bounded(logvar, self.low, self.high)
