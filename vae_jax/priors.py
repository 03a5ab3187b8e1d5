"""p(z): one function per family, each returning a record of pure functions of one latent.

To add one: write a function that returns a `Prior`, name it in `__all__`, re-export it from
`vae_jax`, and add a row to PRIORS in tests/tables.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.gaussian import kl_standard_normal, normal_log_prob
from vae_jax.types import Array, Key

__all__ = ["standard_normal"]


class Prior(NamedTuple):
    """p(z), in nats: `log_prob(z [Z])` is [], `sample(rng)` is [Z].

    `kl_per_dim(mean [Z], logvar [Z])` is [Z] and sums to KL(N(mean, exp(logvar)) || p(z)).
    """

    text: str
    """The call that makes this record, as `from_text` reads it."""
    latent_dim: int
    log_prob: Callable[[Array], Array]
    kl_per_dim: Callable[[Array, Array], Array]
    sample: Callable[[Key], Array]


def standard_normal(latent_dim: int) -> Prior:
    """N(0, I) over `latent_dim` dimensions; the KL is the closed form.

    Raises:
        TypeError, ValueError: `latent_dim` is not a whole number of at least 1.
    """
    latent_dim = check_count("latent_dim", latent_dim)

    def log_prob(z: Array) -> Array:
        return jnp.sum(normal_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z)), axis=-1)

    def sample(rng: Key) -> Array:
        return jax.random.normal(rng, (latent_dim,))

    text = f"standard_normal(latent_dim={latent_dim})"
    return Prior(text, latent_dim, log_prob, kl_standard_normal, sample)
