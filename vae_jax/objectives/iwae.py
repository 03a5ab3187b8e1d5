"""The importance-weighted bound."""

from typing import Any

import jax.numpy as jnp

from vae_jax.model import VAE
from vae_jax.objectives.terms import report
from vae_jax.objectives.weights import (
    Gradient,
    check_gradient,
    check_samples,
    grouped_mean,
    grouped_shares,
    weigh,
    weighted_loss,
)
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_iwae(vae: VAE, num_samples: int = 5, gradient: Gradient = "plain") -> LossFn:
    """The negative importance-weighted bound with K samples of z.

        bound = log 1/K sum_k w_k,   w_k = p(x, z_k) / q(z_k | x),   z_k ~ q(z | x)

    It rises with K to log p(x); K = 1 is the ELBO with a sampled KL. beta tempers the weights'
    log p(z) - log q. `gradient` chooses the estimator (`plain`, `stl`, `dreg`); the loss's value
    is that of the bound in each case. Metrics: `loss`, `recon` and `kl` (means over the samples),
    `bound` (at beta = 1), in nats per example.

    Raises:
        TypeError, ValueError: num_samples is not a whole number of at least 1, or there is no
            such estimator.
    Source: Burda et al., arXiv:1509.00519, eq. 8; stl: Roeder et al., arXiv:1703.09194; dreg:
        Tucker et al., arXiv:1810.04152, eq. 7.
    """
    check_samples(num_samples=num_samples)
    check_gradient(gradient)

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        weights = weigh(
            vae, params, rng, x, beta, num_samples,
            detach=gradient != "plain", split=gradient == "dreg",
        )  # fmt: skip
        shares = grouped_shares(weights.log_w, num_samples)
        objective = grouped_mean(weights.log_w, num_samples)
        loss = weighted_loss(weights, shares, jnp.square(shares), objective)
        bound = jnp.mean(grouped_mean(weights.bound_w, num_samples))
        return report(loss, jnp.mean(weights.recon), jnp.mean(weights.kl), bound)

    return loss_fn
