"""What a trained replica's latent space does: which dimensions carry something, and how much."""

import jax
import jax.numpy as jnp

from vae_jax.evaluate import kl_per_dim, posterior
from vae_jax.model import VAE
from vae_jax.types import Array, BatchFn, Params

POINTS = 2_000
"""Examples that are looked at, at least."""
ACTIVE_VARIANCE = 0.01
"""A dimension is active if its posterior mean varies more than this over the data."""


def diagnose(vae: VAE, batch_fn: BatchFn, params: Params, data: object) -> dict[str, Array]:
    """`rates` [Z], the mean KL of each latent dimension in nats, and `active` [], how many of them
    have a posterior mean whose variance over the data is above 0.01.

    The data are batches of `batch_fn`, the same for all replicas, and looked at one by one, so that
    this needs no more memory than a training step.

    Source: Burda et al., arXiv:1509.00519, section 5.2.
    """
    rng = jax.random.key(0)
    size = jax.eval_shape(batch_fn, data, rng, jax.ShapeDtypeStruct((), jnp.int32)).shape[0]

    def look(step: Array) -> tuple[Array, Array, Array]:
        x = batch_fn(data, rng, step)
        mean, _ = posterior(vae, params, x)
        return kl_per_dim(vae, params, x), jnp.mean(mean, axis=0), jnp.var(mean, axis=0)

    rates, centres, within = jax.lax.map(look, jnp.arange(-(-POINTS // size)))
    variance = jnp.mean(within, axis=0) + jnp.var(centres, axis=0)
    active = jnp.sum(variance > ACTIVE_VARIANCE).astype(jnp.int32)
    return {"rates": jnp.mean(rates, axis=0), "active": active}
