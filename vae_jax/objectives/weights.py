"""Importance weights of several draws, and what their gradient may leave out."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count
from vae_jax.draws import Draw, log_joint, log_posterior, transform
from vae_jax.gaussian import reparameterize
from vae_jax.model import VAE, batch_size, check_batch, split_condition
from vae_jax.numerics import log_mean_exp
from vae_jax.types import Array, Key, Params

Gradient = Literal["plain", "stl", "dreg"]
"""Estimators of the gradient of an importance-weighted bound:

plain: of the bound as it is computed.
stl:   without the score of q ("sticking the landing"); biased for more than one sample.
dreg:  doubly reparameterised; unbiased, its variance falls with the number of samples.
"""


class Weights(NamedTuple):
    """Log-weights [B, K] of the draws, log p(x | z) + beta (log p(z) - log q(z | x)).

    `log_w` carries the gradient of all parameters; where `path` is given, only that of the
    generative ones (decoder, likelihood, prior), and `path`, of the same value, the gradient that
    goes through z and q. `bound_w` is log_w at beta = 1; recon and kl are the means over the draws
    of log p(x | z) and of log q - log p, [B] each.
    """

    log_w: Array
    path: Array | None
    bound_w: Array
    recon: Array
    kl: Array


def check_gradient(gradient: str) -> None:
    """Raises ValueError unless it is one of the estimators of `Gradient`."""
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient is one of {get_args(Gradient)}, got {gradient!r}.")


def check_samples(**counts: object) -> None:
    """Raises TypeError or ValueError unless each is a whole number of at least 1."""
    for name, count in counts.items():
        check_count(name, count)


def weigh(
    vae: VAE,
    params: Params,
    rng: Key,
    x: Any,
    beta: Any,
    num_samples: int,
    *,
    detach: bool = False,
    split: bool = False,
) -> Weights:
    """The weights of `num_samples` draws for each example of x [B, *data_shape].

    `detach` leaves the score of q out of the gradient, `split` gives `path` apart.

    Raises:
        ValueError: x is not [B, *data_shape], or the prior is not a density.
    Source: Burda et al., arXiv:1509.00519, eq. 8.
    """
    check_batch(vae, x)
    stop = jax.lax.stop_gradient

    def log_w(draw: Draw, beta: Any) -> Any:
        return draw.log_lik + beta * (draw.log_prior - draw.log_q)

    def one(rng: Key, x: Any) -> Weights:
        x, condition = split_condition(vae, x)
        gaussian = vae.encode(params, x, *condition)

        def at(rng: Key) -> tuple[Draw, Draw]:
            z, log_q = transform(vae, params, reparameterize(rng, *gaussian), gaussian)
            if detach:
                log_q = log_posterior(vae, *stop((params, gaussian)), z)
            if not split:
                draw = Draw(z, *log_joint(vae, params, z, x, condition), log_q)
                return draw, draw
            direct = Draw(z, *log_joint(vae, params, stop(z), x, condition), stop(log_q))
            return direct, Draw(z, *log_joint(vae, stop(params), z, x, condition), log_q)

        direct, path = jax.vmap(at)(jax.random.split(rng, num_samples))
        kl = direct.log_q - direct.log_prior
        return Weights(
            log_w(direct, beta), log_w(path, beta) if split else None, log_w(direct, 1.0),
            jnp.mean(direct.log_lik), jnp.mean(kl),
        )  # fmt: skip

    return jax.vmap(one)(jax.random.split(rng, batch_size(x)), x)


def weighted_loss(
    weights: Weights, shares: Array, path_shares: Array | None, bound: Array
) -> Array:
    """A loss [] of value -mean_B bound and of gradient -mean_B sum_K shares * grad log_w.

    Every importance-weighted objective is a choice of these shares [B, K], which are not
    differentiated: the normalised weights are the gradient of their own log-mean.
    """
    total = jnp.sum(jax.lax.stop_gradient(shares) * weights.log_w, axis=-1)
    if weights.path is not None and path_shares is not None:
        total += jnp.sum(jax.lax.stop_gradient(path_shares) * weights.path, axis=-1)
    return -jnp.mean(jax.lax.stop_gradient(bound - total) + total)


def grouped_mean(log_w: Array, num_samples: int) -> Array:
    """mean over M groups of log mean exp over the K = `num_samples` in each: [B, M K] -> [B]."""
    groups = log_w.reshape(log_w.shape[0], -1, num_samples)
    return jnp.mean(log_mean_exp(groups), axis=-1)


def grouped_shares(log_w: Array, num_samples: int) -> Array:
    """The gradient of `grouped_mean` by log_w: normalised weights over M, [B, M K]."""
    groups = log_w.reshape(log_w.shape[0], -1, num_samples)
    return (jax.nn.softmax(groups) / groups.shape[1]).reshape(log_w.shape)
