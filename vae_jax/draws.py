"""Draws from q(z | x) with the log-densities there: what every bound and estimate is made of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import normal_log_prob, reparameterize
from vae_jax.model import VAE, split_condition
from vae_jax.types import Array, Key, Params


class Draw(NamedTuple):
    """One z ~ q(z | x) [Z] and log p(x | z), log p(z), log q(z | x) there: [] each, in nats."""

    z: Array
    log_lik: Array
    log_prior: Array
    log_q: Array


def draw(vae: VAE, params: Params, rng: Key, x: Any) -> Draw:
    """One draw from the posterior of ONE example x [*data_shape].

    Raises:
        ValueError: the prior is not a density (`codebook`).
    """
    x, condition = split_condition(vae, x)
    return draw_from(vae, params, rng, x, vae.encode(params, x, *condition), condition)


def draw_from(
    vae: VAE,
    params: Params,
    rng: Key,
    x: Array,
    gaussian: tuple[Array, Array],
    condition: tuple[Array, ...] = (),
    *,
    detach: bool = False,
) -> Draw:
    """One draw, given the encoder's (mean, logvar) for x.

    With `detach`, log_q depends on the encoder through z alone: the part of its gradient whose
    expectation is 0 is left out (Roeder et al., arXiv:1703.09194, eq. 8).
    """
    z, log_q = transform(vae, params, reparameterize(rng, *gaussian), gaussian)
    if detach:
        log_q = log_posterior(vae, *jax.lax.stop_gradient((params, gaussian)), z)
    return Draw(z, *log_joint(vae, params, z, x, condition), log_q)


def log_joint(
    vae: VAE, params: Params, z: Array, x: Array, condition: tuple[Array, ...] = ()
) -> tuple[Array, Array]:
    """log p(x | z) and log p(z) of one z [Z]: [] and [], in nats."""
    theta = vae.decode(params, z, *condition)
    return vae.likelihood.log_prob(theta, x.reshape(-1)), log_prior(vae, params, z)


def transform(
    vae: VAE, params: Params, start: Array, gaussian: tuple[Array, Array]
) -> tuple[Array, Array]:
    """z [Z] and log q(z | x) [] of the draw `start` [Z] from the encoder's Gaussian."""
    base = jnp.sum(normal_log_prob(start, *gaussian))
    z, log_det = vae.posterior.forward(
        params.get("posterior"), start, jnp.concatenate(gaussian, axis=-1)
    )
    return z, base - log_det


def log_posterior(vae: VAE, params: Params, gaussian: tuple[Array, Array], z: Array) -> Array:
    """log q(z | x) in nats at any z [Z]: []."""
    start, log_det = vae.posterior.inverse(
        params.get("posterior"), z, jnp.concatenate(gaussian, axis=-1)
    )
    return jnp.sum(normal_log_prob(start, *gaussian)) + log_det


def prior_theta(vae: VAE, params: Params) -> Any:
    """What the prior's functions take as their first argument.

    Under `vmap` over examples nothing here depends on one, so it is computed once a batch.
    """
    return vae.prior.theta(params.get("prior"), lambda x: vae.encode(params, x))


def start_at_rows(vae: VAE, rng: Key, data: Any) -> VAE:
    """The VAE with its VampPrior's pseudo-inputs started at rows of data [N, *data_shape], drawn
    without replacement.

    Raises:
        ValueError: the prior has no pseudo-inputs, or more of them than data has rows.
    """
    if not vae.prior.text.startswith("vamp_prior("):
        raise ValueError(f"{vae.prior.text} has no pseudo-inputs; use vamp_prior().")
    shapes = jax.eval_shape(vae.init, jax.random.key(0))["prior"]["inputs"]
    if len(data) < shapes.shape[0]:
        raise ValueError(
            f"The prior has {shapes.shape[0]} pseudo-inputs, the data only {len(data)} rows: give "
            f"vamp_prior() fewer components."
        )
    chosen = jax.random.choice(rng, len(data), shapes.shape[:1], replace=False)
    rows = jnp.asarray(np.asarray(data)[np.asarray(chosen)], shapes.dtype)
    if rows.shape != shapes.shape:
        raise ValueError(f"data has rows of shape {rows.shape[1:]}, needed: {vae.data_shape}.")
    return vae._replace(init=lambda rng: vae.init(rng) | {"prior": {"inputs": rows}})


def log_prior(vae: VAE, params: Params, z: Array) -> Array:
    """log p(z) in nats: z [Z] -> [].

    Raises:
        ValueError: the prior is not a density (`codebook`).
    """
    if vae.prior.log_prob is None:
        raise ValueError(
            f"{vae.prior.text} is discrete, so p(z) is not a density: train it with make_vq, or "
            f"choose another prior."
        )
    return vae.prior.log_prob(prior_theta(vae, params), z)


def has_closed_kl(vae: VAE) -> bool:
    """Whether KL(q(z | x) || p(z)) is known without a draw, dimension by dimension."""
    return vae.prior.kl_per_dim is not None and vae.posterior.init is None


def closed_kl(vae: VAE, params: Params, mean: Array, logvar: Array) -> Array:
    """KL(q(z_j | x) || p(z_j)) of one example by latent dimension, in nats: [Z] -> [Z].

    Raises:
        ValueError: there is no closed form (`has_closed_kl`).
    """
    if not has_closed_kl(vae) or vae.prior.kl_per_dim is None:
        raise ValueError(
            f"With {vae.prior.text} and {vae.posterior.text} there is no KL by dimension; "
            f"use standard_normal() and diagonal_normal()."
        )
    return vae.prior.kl_per_dim(prior_theta(vae, params), mean, logvar)


def code(vae: VAE, params: Params, x: Any) -> Array:
    """The z [Z] that stands for x without a draw: the posterior's mean or, where z is discrete,
    the nearest code; behind a flow, the image of the mean."""
    x, condition = split_condition(vae, x)
    mean, logvar = vae.encode(params, x, *condition)
    z, _ = vae.posterior.forward(
        params.get("posterior"), mean, jnp.concatenate([mean, logvar], axis=-1)
    )
    return z if vae.prior.quantize is None else vae.prior.quantize(prior_theta(vae, params), z)


def log_weight(vae: VAE, params: Params, rng: Key, x: Any) -> Array:
    """One draw of log p(x, z) - log q(z | x) with z ~ q(z | x), in nats: x [*data_shape] -> [].

    Its mean is the ELBO and the mean of its exp is p(x), so importance-weighted bounds, test
    likelihoods and the bits-back rate can all be written on this one function.

    Source: Burda et al., arXiv:1509.00519, eq. 7.
    """
    one = draw(vae, params, rng, x)
    return one.log_lik + one.log_prior - one.log_q
