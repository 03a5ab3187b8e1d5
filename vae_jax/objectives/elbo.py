"""The evidence lower bound."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from vae_jax.checks import check_number
from vae_jax.draws import closed_kl, has_closed_kl
from vae_jax.model import VAE
from vae_jax.objectives.terms import draw_batch, recon_and_kl, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params

Number = TypeVar("Number", float, Array)


def elbo(recon: Number, kl: Number) -> Number:
    """recon - kl, the lower bound on log p(x) in nats; works on Python floats and on arrays.

    `recon` is E_q[log p(x | z)] and `kl` is KL(q(z | x) || p(z)), both summed over dimensions.

    Source: Kingma and Welling, arXiv:1312.6114, eq. 3.
    """
    return recon - kl


def make_elbo(vae: VAE, free_bits: float = 0.0) -> LossFn:
    """The negative ELBO as a loss; beta = 1 is the bound, any other beta the beta-VAE objective.

        loss = mean_B( beta * KL(q(z | x) || p(z)) - log p(x | z) ),   z ~ q(z | x)

    One draw of z per example; the KL in closed form where there is one. With `free_bits` (nats
    per latent dimension) the KL in the loss is sum_Z max(free_bits, mean_B KL_z): below that, a
    dimension is not pushed further towards the prior. Metrics, each [], in nats per example:
    `loss`, `recon` (log p(x | z), higher is better), `kl` and `bound` (recon - kl).

    Raises:
        ValueError: free_bits is below 0, or the KL has no closed form by dimension.
    Source: Kingma and Welling, arXiv:1312.6114, eq. 10; beta: Higgins et al., ICLR 2017, eq. 4;
        free bits: Kingma et al., arXiv:1606.04934, appendix C.8.
    """
    if check_number("free_bits", free_bits) < 0:
        raise ValueError(f"free_bits must be at least 0, got {free_bits}.")
    if free_bits and not has_closed_kl(vae):
        raise ValueError(f"free_bits needs a KL by dimension, which {vae.prior.text} has not.")

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        recon, kl = recon_and_kl(vae, params, rng, x)
        recon, kl = jnp.mean(recon), jnp.mean(kl)
        return report(-elbo(recon, beta * kl), recon, kl, elbo(recon, kl))

    def free(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        batch = draw_batch(vae, params, rng, x)
        by_dim = jax.vmap(lambda *gaussian: closed_kl(vae, params, *gaussian))
        recon = jnp.mean(batch.draw.log_lik)
        kls = jnp.mean(by_dim(batch.mean, batch.logvar), axis=0)
        held, kl = jnp.sum(jnp.maximum(kls, free_bits)), jnp.sum(kls)
        return report(-elbo(recon, beta * held), recon, kl, elbo(recon, kl))

    return free if free_bits else loss_fn
