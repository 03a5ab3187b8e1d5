"""Between the ELBO and the importance-weighted bound."""

from typing import Any

import jax.numpy as jnp

from vae_jax.checks import check_number
from vae_jax.model import VAE
from vae_jax.objectives.terms import report
from vae_jax.objectives.weights import (
    check_samples,
    grouped_mean,
    grouped_shares,
    weigh,
    weighted_loss,
)
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_ciwae(vae: VAE, num_samples: int = 5, mix: float = 0.05) -> LossFn:
    """The negative of mix * ELBO + (1 - mix) * importance-weighted bound of K samples.

    Both from the same samples; mix = 1 is the ELBO averaged over K draws, mix = 0 `make_iwae`. The
    metric `bound` is this combination, itself a lower bound.

    Raises:
        TypeError, ValueError: num_samples is not a whole number of at least 1, or mix is not in
            [0, 1].
    Source: Rainforth et al., arXiv:1802.04537, section 4 (there beta is our mix).
    """
    check_samples(num_samples=num_samples)
    if not 0 <= check_number("mix", mix) <= 1:
        raise ValueError(f"mix must lie in [0, 1], got {mix}.")

    def combined(log_w: Array) -> Array:
        return mix * grouped_mean(log_w, 1) + (1 - mix) * grouped_mean(log_w, num_samples)

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        weights = weigh(vae, params, rng, x, beta, num_samples)
        log_w = weights.log_w
        shares = mix * grouped_shares(log_w, 1) + (1 - mix) * grouped_shares(log_w, num_samples)
        loss = weighted_loss(weights, shares, None, combined(log_w))
        bound = jnp.mean(combined(weights.bound_w))
        return report(loss, jnp.mean(weights.recon), jnp.mean(weights.kl), bound)

    return loss_fn
