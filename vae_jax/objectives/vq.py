"""VQ-VAE: a latent out of a learned codebook."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_number
from vae_jax.draws import prior_theta
from vae_jax.model import VAE, check_batch, split_condition
from vae_jax.objectives.terms import report
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_vq(vae: VAE, commitment: float = 0.25) -> LossFn:
    """The VQ-VAE's loss, for a VAE whose prior is `codebook()`.

        loss = mean_B( -log p(x | z_q) + |sg(m) - z_q|^2 + beta * commitment * |m - sg(z_q)|^2 )

    m is the encoder's mean, z_q the nearest codes, sg stops the gradient; the decoder's gradient
    passes from z_q to m as it is (straight through). q(z | x) is a point and p(z) uniform over the
    codes, so the KL is the constant G log C of G groups of C codes, and recon - kl is a bound on
    log p(x). The key is not used: nothing is drawn. Metrics: `loss`, `recon`, `kl`, `bound`,
    `codes` (the squared distance of m to z_q).

    Raises:
        TypeError, ValueError: the prior is not a codebook, or commitment is not a number.
    Source: van den Oord et al., arXiv:1711.00937, eq. 3.
    """
    check_number("commitment", commitment)
    if vae.prior.quantize is None:
        raise ValueError(f"make_vq needs the prior codebook(), this VAE has {vae.prior.text}.")
    quantize, stop = vae.prior.quantize, jax.lax.stop_gradient

    def one(params: Params, x: Any) -> tuple[Array, Array, Array]:
        x, condition = split_condition(vae, x)
        mean, _ = vae.encode(params, x, *condition)
        nearest = quantize(prior_theta(vae, params), mean)
        through = mean + stop(nearest - mean)
        theta = vae.decode(params, through, *condition)
        to_codes = jnp.sum(jnp.square(stop(mean) - nearest))
        to_mean = jnp.sum(jnp.square(mean - stop(nearest)))
        return vae.likelihood.log_prob(theta, x.reshape(-1)), to_codes, to_mean

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        check_batch(vae, x)
        recon, to_codes, to_mean = jax.tree.map(
            jnp.mean, jax.vmap(one, in_axes=(None, 0))(params, x)
        )
        groups, codes, _ = params["prior"]["codes"].shape
        kl = jnp.asarray(groups * math.log(codes))
        loss = to_codes + beta * commitment * to_mean - recon
        return report(loss, recon, kl, recon - kl, codes=to_mean)

    return loss_fn
