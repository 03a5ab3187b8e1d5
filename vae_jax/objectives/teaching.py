"""The form in which courses write the VAE loss: means over dimensions instead of sums."""

import math

import jax.numpy as jnp

from vae_jax.checks import check_count, check_positive
from vae_jax.model import VAE
from vae_jax.objectives.terms import recon_and_kl
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_teaching(vae: VAE) -> LossFn:
    """The loss of the courses, for `squared_error()`: mean squared error + beta * mean KL.

        loss = mean_BD (xhat - x)^2 + beta * mean_BZ KL(q(z_j | x) || p(z_j))

    Averaging over D data and Z latent dimensions hides a choice of noise. It is the negative
    ELBO in nats of a Gaussian decoder with variance

        sigma^2 = beta * D / (2 Z)                                       (`teaching_std`)

    less its constant D/2 log(2 pi sigma^2), times 2 sigma^2 / D: the same gradients after that
    scaling, so the same optimum. beta = 0.01 with D = Z = 2 means sigma = 0.0707. With another
    likelihood the first term is -log p(x | z) / D, e.g. mean cross-entropy for `bernoulli()`.

    Metrics, each []: `loss`, `recon` (the first term: an error, lower is better, not nats) and
    `kl` (nats per latent dimension); loss = recon + beta * kl.
    """
    num_dims, latent_dim = math.prod(vae.data_shape), vae.prior.latent_dim

    def loss_fn(params: Params, rng: Key, x: Array, beta: Array) -> tuple[Array, Metrics]:
        recon, kl = recon_and_kl(vae, params, rng, x)
        error, kl = -jnp.mean(recon) / num_dims, jnp.mean(kl) / latent_dim
        loss = error + beta * kl
        return loss, {"loss": loss, "recon": error, "kl": kl}

    return loss_fn


def teaching_std(beta: float, num_dims: int, latent_dim: int) -> float:
    """sigma = sqrt(beta * D / (2 Z)): the decoder noise that the teaching form stands for.

    Raises:
        TypeError, ValueError: beta is not above 0, or a dimension is not at least 1.
    """
    beta = check_positive("beta", beta)
    num_dims, latent_dim = check_count("num_dims", num_dims), check_count("latent_dim", latent_dim)
    return math.sqrt(beta * num_dims / (2 * latent_dim))
