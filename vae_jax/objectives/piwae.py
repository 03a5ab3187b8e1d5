"""Different bounds for encoder and decoder."""

from typing import Any

import jax.numpy as jnp

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


def make_piwae(vae: VAE, num_groups: int = 8, num_samples: int = 8) -> LossFn:
    """The decoder follows the bound of all M K samples, the encoder the mean of M bounds of K.

    A tight bound helps the decoder and starves the encoder of gradient, so each gets its own, from
    the same samples. The loss's value, and `bound`, are those of the decoder's bound. With M = 1 it
    is `make_iwae`.

    Raises:
        TypeError, ValueError: a number of samples is not a whole number of at least 1.
    Source: Rainforth et al., arXiv:1802.04537, section 4.
    """
    check_samples(num_groups=num_groups, num_samples=num_samples)
    total = num_groups * num_samples

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        weights = weigh(vae, params, rng, x, beta, total, split=True)
        generative = grouped_shares(weights.log_w, total)
        inference = grouped_shares(weights.log_w, num_samples)
        loss = weighted_loss(weights, generative, inference, grouped_mean(weights.log_w, total))
        bound = jnp.mean(grouped_mean(weights.bound_w, total))
        return report(loss, jnp.mean(weights.recon), jnp.mean(weights.kl), bound)

    return loss_fn
