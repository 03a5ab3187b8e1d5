"""q(z | x): what happens to the encoder's diagonal Gaussian before it is z.

A posterior is an invertible map of the Gaussian draw. To add one: write a function that returns a
`Posterior`, name it in `__all__`, re-export it from `vae_jax`, and add a row to POSTERIORS in
tests/tables.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from vae_jax.checks import check_count, check_counts
from vae_jax.couplings import couple, init_couplings
from vae_jax.types import Array, Key, Params

__all__ = ["coupling_flow", "diagonal_normal"]

Map = Callable[[Params, Array, Array], tuple[Array, Array]]
"""params, z [Z], context [2 Z] (the encoder's mean and logvar) -> (z' [Z], log_det [])."""


class Posterior(NamedTuple):
    """An invertible map z0 -> z of the draw z0 ~ N(mean, exp(logvar)).

    log q(z | x) = log N(z0; mean, exp(logvar)) - log |dz / dz0|. Both maps return the log-det of
    the way they go.
    """

    text: str
    """The call that makes this record, as `from_text` reads it."""
    init: Callable[[Key, int], Params] | None
    """rng, Z -> the learned parameters; None where nothing is learned and the map is identity."""
    forward: Map
    inverse: Map


def diagonal_normal() -> Posterior:
    """The encoder's Gaussian itself, N(mean, exp(logvar)); with most priors the KL is closed."""

    def same(params: Params, z: Array, context: Array) -> tuple[Array, Array]:
        return z, jnp.zeros((), z.dtype)

    return Posterior("diagonal_normal()", None, same, same)


def coupling_flow(num_layers: int = 4, hidden: tuple[int, ...] = (64,)) -> Posterior:
    """Affine coupling layers on the encoder's Gaussian, which see its mean and logvar.

    The layers are those of `init_couplings`; the untrained flow is the identity, and the VAE the
    plain one.

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1; when a VAE of fewer
            than two latent dimensions is built with it.
    Source: Dinh et al., arXiv:1605.08803, eq. 6 to 8; as a posterior, Rezende and Mohamed,
        arXiv:1505.05770.
    """
    num_layers = check_count("num_layers", num_layers)
    hidden = check_counts("hidden", hidden)

    def init(rng: Key, latent_dim: int) -> Params:
        if latent_dim < 2:
            raise ValueError("coupling_flow() needs at least two latent dimensions to couple.")
        return init_couplings(rng, latent_dim, 2 * latent_dim, num_layers, hidden)

    def forward(params: Params, z: Array, context: Array) -> tuple[Array, Array]:
        return couple(params, num_layers, z, context)

    def inverse(params: Params, z: Array, context: Array) -> tuple[Array, Array]:
        return couple(params, num_layers, z, context, inverse=True)

    return Posterior(
        f"coupling_flow(num_layers={num_layers}, hidden={hidden})", init, forward, inverse
    )
