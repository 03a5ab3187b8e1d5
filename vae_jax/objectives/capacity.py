"""A KL held at a chosen capacity."""

from typing import Any

import jax.numpy as jnp

from vae_jax.checks import check_positive
from vae_jax.model import VAE
from vae_jax.objectives.terms import recon_and_kl, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_capacity(vae: VAE, capacity: float) -> LossFn:
    """The loss that pulls the KL towards `capacity` nats, from either side.

        loss = mean_B(-log p(x | z)) + beta * |mean_B KL(q(z | x) || p(z)) - capacity|

    While the KL is above the capacity it is the beta-VAE's loss, less beta * capacity. Metrics:
    `loss`, `recon`, `kl`, `bound` (recon - kl), in nats per example.

    Raises:
        TypeError, ValueError: capacity is not a finite number above 0; for 0 use `make_elbo`.
    Source: Burgess et al., arXiv:1804.03599, eq. 8.
    """
    capacity = check_positive("capacity", capacity)

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        recon, kl = recon_and_kl(vae, params, rng, x)
        recon, kl = jnp.mean(recon), jnp.mean(kl)
        loss = beta * jnp.abs(kl - capacity) - recon
        return report(loss, recon, kl, recon - kl)

    return loss_fn
