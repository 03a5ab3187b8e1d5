"""Small numerical functions whose naive form loses digits."""

import jax
import jax.numpy as jnp

from vae_jax.types import Array


def log_mean_exp(values: Array, axis: int = -1) -> Array:
    """log of the mean of exp(values) along `axis`, which is removed.

    With log-weights it turns K draws into an estimate of log p(x). Subtracting the maximum first
    keeps one term at exp(0) = 1, so the sum neither overflows nor vanishes.
    """
    count = values.shape[axis]
    if count == 0:
        raise ValueError(f"log_mean_exp needs at least one value along axis {axis}, got none.")
    return jax.nn.logsumexp(values, axis=axis) - jnp.log(count)
