"""Axis letters and aliases: the words in which every other module states its shapes.

    N rows of a data set    B examples in a batch    K samples of a latent
    D data dimensions       Z latent dimensions      P parameters per data dimension
    T training steps        R replicas

A shape such as ``[B, Z]`` in a docstring uses these letters; ``[]`` is a scalar.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
"""A typed PRNG key, as made by ``jax.random.key``."""

Params: TypeAlias = Any
"""A plain nested dict of arrays."""

Metrics: TypeAlias = dict[str, Array]
"""Named scalars of one step; with a leading T (and R) axis once scanned (and replicated)."""

LossFn: TypeAlias = Callable[[Params, Key, Array, Any], tuple[Array, Metrics]]
"""``(params, rng, x [B, ...], beta) -> (loss [], metrics)``; pure."""

ScheduleFn: TypeAlias = Callable[[Any, Array], Any]
"""``(beta, step []) -> beta at that step []``; pure."""

BatchFn: TypeAlias = Callable[[Any, Key, Array], Array]
"""``(data, rng, step []) -> x [B, ...]``; pure, and the same ``rng`` for every step of a run."""
