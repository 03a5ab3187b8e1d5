"""The diagonal Gaussian: a draw one can differentiate, its log-density, its KL."""

import math

import jax
import jax.numpy as jnp

from vae_jax.types import Array, Key

LOG_2PI = math.log(2.0 * math.pi)


def reparameterize(rng: Key, mean: Array, logvar: Array) -> Array:
    """z [..., Z] ~ N(mean, exp(logvar)), differentiable in mean and logvar.

        z = mean + exp(logvar / 2) * eps,   eps ~ N(0, I) drawn from `rng`

    All randomness sits in eps, which does not depend on the parameters, so the gradient of an
    expectation over z becomes an expectation of gradients. The same key gives the same eps.

    Raises:
        ValueError: mean and logvar have different shapes.
    Source: Kingma and Welling, arXiv:1312.6114, section 2.4.
    """
    if jnp.shape(mean) != jnp.shape(logvar):
        raise ValueError(
            f"mean and logvar must have one shape, got {jnp.shape(mean)} and {jnp.shape(logvar)}."
        )
    eps = jax.random.normal(rng, jnp.shape(mean), jnp.result_type(mean, logvar))
    return mean + jnp.exp(0.5 * logvar) * eps


def normal_log_prob(x: Array, mean: Array, logvar: Array) -> Array:
    """log N(x; mean, exp(logvar)) per dimension, in nats: broadcast shape of the arguments.

        -((x - mean)^2 / exp(logvar) + logvar + log 2 pi) / 2

    In terms of logvar there is no division by a variance that may have rounded to 0.
    """
    return -0.5 * (jnp.square(x - mean) * jnp.exp(-logvar) + logvar + LOG_2PI)


def kl_standard_normal(mean: Array, logvar: Array) -> Array:
    """KL(N(mean, exp(logvar)) || N(0, 1)) per dimension, in nats: [..., Z].

        (mean^2 + exp(logvar) - 1 - logvar) / 2

    Not summed, since which latent dimensions carry information is read off the terms.
    expm1 keeps a KL near 0 from being lost in the subtraction of two numbers near 1.

    Source: Kingma and Welling, arXiv:1312.6114, appendix B.
    """
    return 0.5 * (jnp.square(mean) + (jnp.expm1(logvar) - logvar))
