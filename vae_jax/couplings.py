"""Affine coupling layers: invertible maps of a latent, of posteriors and of priors."""

from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.networks.layers import apply_layers, init_layers
from vae_jax.types import Array, Key, Params


def init_couplings(
    rng: Key, latent_dim: int, num_context: int, num_layers: int, hidden: tuple[int, ...]
) -> Params:
    """Parameters of `num_layers` layers over z [Z] that see a context [num_context].

    Each layer keeps half of z and maps the other half affinely,

        z_b' = z_b * exp(s) + t,   (s, t) = network(z_a, context),   s within +-2,

    so density and inverse cost one pass each; the halves take turns. The networks' last layers
    start at 0: the untrained map is the identity.

    Source: Dinh et al., arXiv:1605.08803, eq. 6 to 8.
    """
    layers = {}
    for i in range(num_layers):
        small = latent_dim // 2
        kept = small if i % 2 == 0 else latent_dim - small
        sizes = (kept + num_context, *hidden, 2 * (latent_dim - kept))
        params = init_layers(jax.random.fold_in(rng, i), sizes)
        layers[f"layer_{i}"] = params | {"out": jax.tree.map(jnp.zeros_like, params["out"])}
    return layers


def couple(
    params: Any, num_layers: int, z: Array, context: Array, *, inverse: bool = False
) -> tuple[Array, Array]:
    """The map of z [Z], or its inverse, with the log-determinant [] of the way it goes."""
    total = jnp.zeros((), z.dtype)
    order = range(num_layers)
    for i in reversed(order) if inverse else order:
        kept, moved = _halves(z, i)
        scale, shift = _affine(params[f"layer_{i}"], kept, context)
        if inverse:
            z, total = _joined(kept, (moved - shift) * jnp.exp(-scale), i), total - jnp.sum(scale)
        else:
            z, total = _joined(kept, moved * jnp.exp(scale) + shift, i), total + jnp.sum(scale)
    return z, total


def _halves(z: Array, layer: int) -> tuple[Array, Array]:
    """What layer number `layer` keeps, and what it moves."""
    middle = z.shape[-1] // 2
    first, second = z[:middle], z[middle:]
    return (first, second) if layer % 2 == 0 else (second, first)


def _joined(kept: Array, moved: Array, layer: int) -> Array:
    return jnp.concatenate([kept, moved] if layer % 2 == 0 else [moved, kept])


def _affine(params: Any, kept: Array, context: Array) -> tuple[Array, Array]:
    out = apply_layers(params, jnp.concatenate([kept, context]), jax.nn.relu)
    scale, shift = jnp.split(out, 2)
    return 2.0 * jnp.tanh(0.5 * scale), shift
