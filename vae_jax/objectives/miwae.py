"""Averages of importance-weighted bounds."""

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


def make_miwae(vae: VAE, num_groups: int = 8, num_samples: int = 8) -> LossFn:
    """The negative mean of M = `num_groups` importance-weighted bounds of K = `num_samples` each.

        bound = 1/M sum_m log 1/K sum_k w_mk

    M = 1 is `make_iwae`, K = 1 the ELBO averaged over M draws. Metrics as there.

    Raises:
        TypeError, ValueError: a number of samples is not a whole number of at least 1.
    Source: Rainforth et al., arXiv:1802.04537, section 4.
    """
    check_samples(num_groups=num_groups, num_samples=num_samples)

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        weights = weigh(vae, params, rng, x, beta, num_groups * num_samples)
        shares = grouped_shares(weights.log_w, num_samples)
        loss = weighted_loss(weights, shares, None, grouped_mean(weights.log_w, num_samples))
        bound = jnp.mean(grouped_mean(weights.bound_w, num_samples))
        return report(loss, jnp.mean(weights.recon), jnp.mean(weights.kl), bound)

    return loss_fn
