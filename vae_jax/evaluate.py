"""What one asks of a trained VAE. Deterministic uses take the posterior mean, never a draw."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.draws import closed_kl, code, has_closed_kl, prior_theta
from vae_jax.model import VAE, batch_size, check_batch, split_condition
from vae_jax.types import Array, Key, Params

ROWS = 1024
"""Examples that go through a network together: a whole data set would not fit into memory."""


def posterior(vae: VAE, params: Params, x: Any) -> tuple[Array, Array]:
    """mean and logvar of the encoder's Gaussian: x [B, *data_shape] -> [B, Z] and [B, Z].

    With `diagonal_normal()` that is q(z | x); behind a flow it is what the flow starts from.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    check_batch(vae, x)

    def encode(x: Any) -> tuple[Array, Array]:
        x, condition = split_condition(vae, x)
        return vae.encode(params, x, *condition)

    mean, logvar = _by_rows(encode, x)
    return mean, logvar


def codes(vae: VAE, params: Params, x: Any) -> Array:
    """The latents [B, Z] that stand for x [B, *data_shape] without a draw: posterior means (behind
    a flow their images, of a codebook the nearest codes).

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    check_batch(vae, x)
    found: Array = _by_rows(lambda x: code(vae, params, x), x)
    return found


def decode_mean(vae: VAE, params: Params, z: Array, condition: Array | None = None) -> Array:
    """The mean of p(x | z): z [B, Z] -> [B, *data_shape].

    Raises:
        ValueError: z is not [B, Z], or the condition does not fit.
    """
    if jnp.ndim(z) != 2 or jnp.shape(z)[1] != vae.prior.latent_dim:
        raise ValueError(f"z has shape {jnp.shape(z)}, needed is [B, {vae.prior.latent_dim}].")
    conditions = _conditions(vae, condition, jnp.shape(z)[0])

    def mean(rows: tuple[Array, ...]) -> Array:
        z, *condition = rows
        return vae.likelihood.mean(vae.decode(params, z, *condition)).reshape(vae.data_shape)

    decoded: Array = _by_rows(mean, (z, *conditions))
    return decoded


def reconstruct(vae: VAE, params: Params, x: Any) -> Array:
    """The mean of p(x | z) at the mean of q(z | x): [B, *data_shape] -> [B, *data_shape].

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    z = codes(vae, params, x)
    return decode_mean(vae, params, z, *split_condition(vae, x)[1])


def kl_per_dim(vae: VAE, params: Params, x: Any) -> Array:
    """The rate of each latent dimension, averaged over x [B, ...]: [Z], in nats.

    KL(q(z_j | x) || p(z_j)) where that is known in closed form. Where the prior does not factorise
    it is taken to the Gaussian with the moments of z_j over all of x instead, an upper bound on the
    information that z_j holds about x. A dimension near 0 is collapsed.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    mean, logvar = posterior(vae, params, x)
    if has_closed_kl(vae):
        return jnp.mean(jax.vmap(lambda *q: closed_kl(vae, params, *q))(mean, logvar), axis=0)
    spread = jnp.var(mean, axis=0) + jnp.mean(jnp.exp(logvar), axis=0)
    return 0.5 * (jnp.log(spread) - jnp.mean(logvar, axis=0))


def sample(
    vae: VAE, params: Params, rng: Key, num_samples: int, condition: Array | None = None
) -> Array:
    """Draws from p(x): z from the prior, x from p(x | z): [num_samples, *data_shape].

    Of a conditional VAE from p(x | condition), with a `condition` [num_samples, *condition_shape].

    Raises:
        TypeError, ValueError: `num_samples` is not a whole number of at least 1, or the condition
            does not fit.
    """
    num_samples = check_count("num_samples", num_samples)
    conditions = _conditions(vae, condition, num_samples)
    prior = prior_theta(vae, params)

    def draw(rng: Key, *condition: Array) -> Array:
        rng_z, rng_x = jax.random.split(rng)
        theta = vae.decode(params, vae.prior.sample(prior, rng_z), *condition)
        return vae.likelihood.sample(rng_x, theta).reshape(vae.data_shape)

    return jax.vmap(draw)(jax.random.split(rng, num_samples), *conditions)


def sample_prior(vae: VAE, params: Params, rng: Key, num_samples: int) -> Array:
    """Draws from p(z): [num_samples, Z].

    Raises:
        TypeError, ValueError: `num_samples` is not a whole number of at least 1.
    """
    theta, rngs = (
        prior_theta(vae, params),
        jax.random.split(rng, check_count("num_samples", num_samples)),
    )
    return jax.vmap(lambda rng: vae.prior.sample(theta, rng))(rngs)


def _conditions(vae: VAE, condition: Array | None, num: int) -> tuple[Array, ...]:
    """The condition as further arguments, once it has been found to fit."""
    if vae.condition_shape is None:
        if condition is not None:
            raise ValueError("This VAE has no condition; build it with condition_shape.")
        return ()
    if condition is None or jnp.shape(condition) != (num, *vae.condition_shape):
        got = "none" if condition is None else f"shape {jnp.shape(condition)}"
        wanted = ", ".join(map(str, (num, *vae.condition_shape)))
        raise ValueError(f"This VAE needs a condition [{wanted}], got {got}.")
    return (jnp.asarray(condition),)


def _by_rows(fn: Callable[[Any], Any], x: Any) -> Any:
    """`fn` of one example over the first axis of the arrays in x, at most `ROWS` at a time."""
    if batch_size(x) <= ROWS:
        return jax.vmap(fn)(x)
    return jax.lax.map(fn, jax.tree.map(jnp.asarray, x), batch_size=ROWS)
