"""What a trained replica's latent space does: which dimensions carry something, and how much."""

import jax
import jax.numpy as jnp

from vae_jax.evaluate import kl_per_dim, posterior
from vae_jax.model import VAE
from vae_jax.types import Array, BatchFn, Params

POINTS = 2_048
"""Examples that are looked at, at least."""
LEAST = 256
"""Of them, at least so many at a time: without a closed KL the prior is that of their moments."""
ACTIVE_VARIANCE = 0.01
"""A dimension is active if its posterior mean varies more than this over the data."""


def diagnose(vae: VAE, batch_fn: BatchFn, params: Params, data: object) -> dict[str, Array]:
    """`rates` [Z], the mean rate of each latent dimension in nats (`kl_per_dim`), and `active` [],
    how many of them have a posterior mean whose variance over the data is above 0.01.

    The data are batches of `batch_fn`, the same for all replicas, and looked at a few at a time:
    this needs little more memory than a training step.

    Source: Burda et al., arXiv:1509.00519, section 5.2.
    """
    rng = jax.random.key(0)
    first = jax.eval_shape(batch_fn, data, rng, jax.ShapeDtypeStruct((), jnp.int32))
    size = jax.tree.leaves(first)[0].shape[0]
    together = -(-LEAST // size)
    steps = jnp.arange(-(-POINTS // (size * together)) * together).reshape(-1, together)

    def look(steps: Array) -> tuple[Array, Array, Array]:
        batches = jax.vmap(lambda step: batch_fn(data, rng, step))(steps)
        x = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches)
        mean, _ = posterior(vae, params, x)
        return kl_per_dim(vae, params, x), jnp.mean(mean, axis=0), jnp.var(mean, axis=0)

    rates, centres, within = jax.lax.map(look, steps)
    variance = jnp.mean(within, axis=0) + jnp.var(centres, axis=0)
    active = jnp.sum(variance > ACTIVE_VARIANCE).astype(jnp.int32)
    return {"rates": jnp.mean(rates, axis=0), "active": active}
