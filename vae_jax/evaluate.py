"""What one asks of a trained VAE. Deterministic uses take the posterior mean, never a draw."""

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.model import VAE, check_batch
from vae_jax.types import Array, Key, Params


def posterior(vae: VAE, params: Params, x: Array) -> tuple[Array, Array]:
    """mean and logvar of q(z | x): x [B, *data_shape] -> [B, Z] and [B, Z].

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    check_batch(vae, x)
    return jax.vmap(vae.encode, in_axes=(None, 0))(params, x)


def decode_mean(vae: VAE, params: Params, z: Array) -> Array:
    """The mean of p(x | z): z [B, Z] -> [B, *data_shape].

    Raises:
        ValueError: z is not [B, Z].
    """
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != vae.prior.latent_dim:
        raise ValueError(f"z has shape {jnp.shape(z)}, needed is [B, {vae.prior.latent_dim}].")

    def mean(z: Array) -> Array:
        return vae.likelihood.mean(vae.decode(params, z)).reshape(vae.data_shape)

    return jax.vmap(mean)(z)


def reconstruct(vae: VAE, params: Params, x: Array) -> Array:
    """The mean of p(x | z) at the mean of q(z | x): [B, *data_shape] -> [B, *data_shape].

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    mean, _ = posterior(vae, params, x)
    return decode_mean(vae, params, mean)


def kl_per_dim(vae: VAE, params: Params, x: Array) -> Array:
    """KL(q(z | x) || p(z)) by latent dimension, averaged over x [B, ...]: [Z], in nats.

    A dimension near 0 is collapsed: its posterior is the prior, so it carries nothing about x.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    mean, logvar = posterior(vae, params, x)
    return jnp.mean(jax.vmap(vae.prior.kl_per_dim)(mean, logvar), axis=0)


def sample(vae: VAE, params: Params, rng: Key, num_samples: int) -> Array:
    """Draws from p(x): z from the prior, x from p(x | z): [num_samples, *data_shape].

    Raises:
        TypeError, ValueError: `num_samples` is not a whole number of at least 1.
    """

    def draw(rng: Key) -> Array:
        rng_z, rng_x = jax.random.split(rng)
        theta = vae.decode(params, vae.prior.sample(rng_z))
        return vae.likelihood.sample(rng_x, theta).reshape(vae.data_shape)

    return jax.vmap(draw)(jax.random.split(rng, check_count("num_samples", num_samples)))
