"""The evidence lower bound."""

from typing import TypeVar

import jax.numpy as jnp

from vae_jax.model import VAE
from vae_jax.objectives.terms import recon_and_kl
from vae_jax.types import Array, Key, LossFn, Metrics, Params

Number = TypeVar("Number", float, Array)


def elbo(recon: Number, kl: Number) -> Number:
    """recon - kl, the lower bound on log p(x) in nats; works on Python floats and on arrays.

    `recon` is E_q[log p(x | z)] and `kl` is KL(q(z | x) || p(z)), both summed over dimensions.

    Source: Kingma and Welling, arXiv:1312.6114, eq. 3.
    """
    return recon - kl


def make_elbo(vae: VAE) -> LossFn:
    """The negative ELBO as a loss; beta = 1 is the bound, any other beta the beta-VAE objective.

        loss = mean_B( beta * KL(q(z | x) || p(z)) - log p(x | z) ),   z ~ q(z | x)

    One draw of z per example, the KL in closed form. Metrics, each [], in nats per example:
    `loss`, `recon` (log p(x | z), higher is better) and `kl`.

    Source: Kingma and Welling, arXiv:1312.6114, eq. 10; beta: Higgins et al., ICLR 2017, eq. 4.
    """

    def loss_fn(params: Params, rng: Key, x: Array, beta: Array) -> tuple[Array, Metrics]:
        recon, kl = recon_and_kl(vae, params, rng, x)
        recon, kl = jnp.mean(recon), jnp.mean(kl)
        loss = -elbo(recon, beta * kl)
        return loss, {"loss": loss, "recon": recon, "kl": kl}

    return loss_fn
