"""The two terms that the objectives share."""

import jax
import jax.numpy as jnp

from vae_jax.gaussian import reparameterize
from vae_jax.model import VAE, check_batch, log_likelihood
from vae_jax.types import Array, Key, Params


def recon_and_kl(vae: VAE, params: Params, rng: Key, x: Array) -> tuple[Array, Array]:
    """log p(x | z) with one z ~ q(z | x), and KL(q(z | x) || p(z)): [B] and [B], in nats.

    Each example has its own key, so its noise does not depend on its neighbours.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    check_batch(vae, x)

    def terms(rng: Key, x: Array) -> tuple[Array, Array]:
        mean, logvar = vae.encode(params, x)
        recon = log_likelihood(vae, params, reparameterize(rng, mean, logvar), x)
        return recon, jnp.sum(vae.prior.kl_per_dim(mean, logvar))

    return jax.vmap(terms)(jax.random.split(rng, x.shape[0]), x)
