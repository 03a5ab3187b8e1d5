"""Ways through the latent space: between two examples, and along one dimension."""

from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.evaluate import codes, decode_mean
from vae_jax.model import VAE
from vae_jax.types import Array, Params


def interpolate(
    vae: VAE,
    params: Params,
    first: Any,
    second: Any,
    num_steps: int = 10,
    *,
    spherical: bool = False,
) -> Array:
    """Decoded means on the way from first to second, x [B, *data_shape] both: [B, T, *data_shape].

    The ends are their reconstructions. The way is straight or, if `spherical`, along the arc
    between the two codes, which keeps to the radii at which a Gaussian of many dimensions has its
    mass.

    Raises:
        TypeError, ValueError: num_steps is not a whole number of at least 2, the batches are not
            of one shape [B, *data_shape], or the VAE is conditional.
    Source: White, arXiv:1609.04468, section 2.1.
    """
    check_count("num_steps", num_steps, 2)
    _check_unconditional(vae)
    if jnp.shape(first) != jnp.shape(second):
        raise ValueError(
            f"Both ends need one shape, got {jnp.shape(first)} and {jnp.shape(second)}."
        )
    ends = codes(vae, params, first), codes(vae, params, second)
    between = _arc if spherical else _line
    fractions = jnp.linspace(0.0, 1.0, num_steps)
    way = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(fractions))(*ends)
    decoded = decode_mean(vae, params, way.reshape(-1, vae.prior.latent_dim))
    return decoded.reshape(*way.shape[:2], *vae.data_shape)


def traverse(vae: VAE, params: Params, z: Any, values: Any) -> Array:
    """Decoded means of z [Z] with one dimension after the other set to each of values [T]:
    [Z, T, *data_shape].

    Raises:
        ValueError: z is not [Z], values are not [T], or the VAE is conditional.
    """
    _check_unconditional(vae)
    z, values, latent_dim = jnp.asarray(z), jnp.asarray(values), vae.prior.latent_dim
    if z.shape != (latent_dim,) or values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"Needed are z [{latent_dim}] and values [T], got {z.shape} and {values.shape}."
        )
    grid = jax.vmap(lambda dim: jax.vmap(lambda value: z.at[dim].set(value))(values))(
        jnp.arange(latent_dim)
    )
    decoded = decode_mean(vae, params, grid.reshape(-1, latent_dim))
    return decoded.reshape(*grid.shape[:2], *vae.data_shape)


def _line(first: Array, second: Array, fraction: Array) -> Array:
    return first + fraction * (second - first)


def _arc(first: Array, second: Array, fraction: Array) -> Array:
    """On the great circle in direction, linear in length; a line where the directions agree."""
    lengths = jnp.linalg.norm(first), jnp.linalg.norm(second)
    cosine = jnp.dot(first, second) / jnp.maximum(lengths[0] * lengths[1], 1e-12)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    sine = jnp.sin(angle)
    shares = jnp.sin((1 - fraction) * angle) / sine, jnp.sin(fraction * angle) / sine
    units = first / jnp.maximum(lengths[0], 1e-12), second / jnp.maximum(lengths[1], 1e-12)
    turned = (shares[0] * units[0] + shares[1] * units[1]) * _line(*lengths, fraction)
    return jnp.where(sine > 1e-4, turned, _line(first, second, fraction))


def _check_unconditional(vae: VAE) -> None:
    if vae.condition_shape is not None:
        raise ValueError("This VAE is conditional: move z yourself and call decode_mean with it.")
