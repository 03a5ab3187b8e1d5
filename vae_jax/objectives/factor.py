"""FactorVAE: total correlation by a critic that is trained beside the VAE."""

from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_counts, check_number
from vae_jax.model import VAE, batch_size
from vae_jax.networks import apply_layers, init_layers
from vae_jax.objectives.terms import draw_batch, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def add_critic(vae: VAE, hidden: tuple[int, ...] = (256, 256)) -> VAE:
    """The VAE with the parameters of a critic, a network z -> logit, beside its own.

    Raises:
        TypeError, ValueError: `hidden` does not hold whole numbers of at least 1.
    """
    sizes = (vae.prior.latent_dim, *check_counts("hidden", hidden), 1)

    def init(rng: Key) -> Params:
        return vae.init(rng) | {"critic": init_layers(jax.random.fold_in(rng, 2), sizes)}

    return vae._replace(init=init)


def make_factor(vae: VAE, gamma: float = 10.0) -> LossFn:
    """The negative ELBO plus gamma times the total correlation of z as a critic sees it.

        loss = -recon + beta * KL + gamma * mean D(z) + critic's loss

    D is the logit that z came from q(z) and not from the product of its marginals, so its mean
    estimates TC = KL(q(z) || prod_j q(z_j)). The critic learns by cross-entropy to tell z from z
    with each dimension permuted over the batch. Neither loss sends a gradient to the other's
    parameters. Take the VAE from `add_critic`. With gamma = 0 the VAE's gradient is `make_elbo`'s.
    Metrics: `loss` (without the critic's), `recon`, `kl`, `bound`, `total_correlation`, `critic`.

    Raises:
        TypeError, ValueError: gamma is not a number; when traced, a batch of one, or parameters
            without a critic.
    Source: Kim and Mnih, arXiv:1802.05983, algorithm 2.
    """
    check_number("gamma", gamma)
    stop = jax.lax.stop_gradient

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        batch = draw_batch(vae, params, rng, x)
        if "critic" not in params or batch_size(x) < 2:
            raise ValueError("make_factor needs add_critic(vae) and batches of 2 or more rows.")
        z, critic = batch.draw.z, params["critic"]
        shuffled = stop(_permute_dims(jax.random.fold_in(rng, 0), z))
        correlation = jnp.mean(_logit(stop(critic), z))
        wrong = jax.nn.softplus(-_logit(critic, stop(z))), jax.nn.softplus(_logit(critic, shuffled))
        error = 0.5 * (jnp.mean(wrong[0]) + jnp.mean(wrong[1]))
        recon, kl = jnp.mean(batch.draw.log_lik), jnp.mean(batch.kl)
        loss = beta * kl - recon + gamma * correlation + (error - stop(error))
        more = {"total_correlation": correlation, "critic": error}
        return report(loss, recon, kl, recon - kl, **more)

    return loss_fn


def _logit(critic: Params, z: Array) -> Array:
    return apply_layers(critic, z, jax.nn.leaky_relu)[..., 0]


def _permute_dims(rng: Key, z: Array) -> Array:
    """z [B, Z] with every column permuted on its own: draws from the product of marginals."""
    rngs = jax.random.split(rng, z.shape[1])
    return jax.vmap(jax.random.permutation, in_axes=(0, 1), out_axes=1)(rngs, z)
