"""DIP-VAE: the aggregate posterior's covariance held near the identity."""

from typing import Any

import jax.numpy as jnp

from vae_jax.checks import check_number
from vae_jax.model import VAE, batch_size
from vae_jax.objectives.terms import draw_batch, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_dip(
    vae: VAE, off_diagonal: float = 10.0, diagonal: float = 5.0, *, within: bool = True
) -> LossFn:
    """The negative ELBO plus a penalty on the covariance C of the latents over the batch.

        loss = -recon + beta * KL
             + off_diagonal * sum_{i != j} C_ij^2 + diagonal * sum_i (C_ii - 1)^2

    C is Cov[mean] (DIP-VAE-I) or, with `within`, the covariance of z itself, Cov[mean] +
    E[diag(exp(logvar))] (DIP-VAE-II). With both weights at 0 it is `make_elbo`. Metrics: `loss`,
    `recon`, `kl`, `bound`, `penalty`.

    Raises:
        TypeError, ValueError: a weight is not a number; when traced, a batch of one.
    Source: Kumar et al., arXiv:1711.00848, eq. 6 and 7.
    """
    check_number("off_diagonal", off_diagonal), check_number("diagonal", diagonal)

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        batch = draw_batch(vae, params, rng, x)
        if batch_size(x) < 2:
            raise ValueError("make_dip takes a covariance over the batch: give 2 or more rows.")
        centred = batch.mean - jnp.mean(batch.mean, axis=0)
        covariance = centred.T @ centred / batch_size(x)
        spread = jnp.diag(covariance)
        apart = jnp.sum(jnp.square(covariance)) - jnp.sum(jnp.square(spread))
        if within:
            spread += jnp.mean(jnp.exp(batch.logvar), axis=0)
        penalty = off_diagonal * apart + diagonal * jnp.sum(jnp.square(spread - 1.0))
        recon, kl = jnp.mean(batch.draw.log_lik), jnp.mean(batch.kl)
        return report(beta * kl - recon + penalty, recon, kl, recon - kl, penalty=penalty)

    return loss_fn
