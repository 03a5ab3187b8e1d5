"""Losses that compare the aggregate posterior with the prior by draws: InfoVAE, WAE."""

from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_number
from vae_jax.draws import prior_theta
from vae_jax.model import VAE, batch_size
from vae_jax.objectives.terms import draw_batch, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths of the kernel, in units of the expected squared distance of two prior draws."""


def make_infovae(vae: VAE, alpha: float = 0.0, lam: float = 10.0) -> LossFn:
    """The ELBO with the KL weighed down and a distance between aggregate posterior and prior.

        loss = -recon + beta * ((1 - alpha) * KL + (alpha + lam - 1) * MMD(q(z), p(z)))

    alpha = 0, lam = 1 is `make_elbo`. Metrics: `loss`, `recon`, `kl`, `bound`, `mmd`.

    Raises:
        TypeError, ValueError: alpha or lam is not a number; when traced, a batch of one.
    Source: Zhao et al., arXiv:1706.02262, eq. 6.
    """
    check_number("alpha", alpha), check_number("lam", lam)
    return _make(vae, 1.0 - alpha, alpha + lam - 1.0)


def make_wae(vae: VAE, lam: float = 10.0) -> LossFn:
    """The Wasserstein autoencoder's loss with its MMD penalty: no KL.

        loss = -recon + beta * lam * MMD(q(z), p(z))

    With `squared_error()` the first term is the paper's cost. At beta = 0 it is the ELBO's loss
    at beta = 0. Metrics: `loss`, `recon`, `kl`, `bound`, `mmd`.

    Raises:
        TypeError, ValueError: lam is not a number; when traced, a batch of one.
    Source: Tolstikhin et al., arXiv:1711.01558, eq. 4 and algorithm 2.
    """
    return _make(vae, 0.0, check_number("lam", lam))


def _make(vae: VAE, kl_share: float, mmd_share: float) -> LossFn:
    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        batch = draw_batch(vae, params, rng, x)
        theta, rngs = prior_theta(vae, params), jax.random.split(rng, 2 * batch_size(x))
        drawn = jax.vmap(lambda rng: vae.prior.sample(theta, rng))(rngs[batch_size(x) :])
        distance = mmd(batch.draw.z, drawn)
        recon, kl = jnp.mean(batch.draw.log_lik), jnp.mean(batch.kl)
        loss = beta * (kl_share * kl + mmd_share * distance) - recon
        return report(loss, recon, kl, recon - kl, mmd=distance)

    return loss_fn


def mmd(first: Array, second: Array) -> Array:
    """The squared maximum mean discrepancy of two samples [B, Z], without bias: [].

    Kernel: the sum over scales c of C / (C + |a - b|^2), C = 2 Z c (inverse multiquadratic), which
    has heavier tails than a Gaussian and so a gradient for far outliers.

    Raises:
        ValueError: a sample has fewer than two points.
    Source: Gretton et al., JMLR 13, 2012, lemma 6.
    """
    num, latent_dim = first.shape
    if num < 2:
        raise ValueError("The MMD compares distances within a batch: give batches of 2 or more.")

    def kernel(a: Array, b: Array) -> Array:
        squared = jnp.sum(jnp.square(a[:, None] - b[None]), axis=-1)
        return sum((1 / (1 + squared / (2 * latent_dim * c)) for c in SCALES), jnp.zeros(()))

    def within(a: Array) -> Array:
        return (jnp.sum(kernel(a, a)) - num * len(SCALES)) / (num * (num - 1))

    return within(first) + within(second) - 2 * jnp.mean(kernel(first, second))
