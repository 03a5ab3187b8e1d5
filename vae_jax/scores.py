"""Numbers that say what a latent space holds, and in which units a likelihood is reported."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count, check_counts
from vae_jax.evaluate import posterior
from vae_jax.gaussian import normal_log_prob, reparameterize
from vae_jax.model import VAE
from vae_jax.types import Array, Key, Params

BLOCK = 256
"""Rows whose distances to all others are in memory at once."""


def bits_per_dim(log_prob: Any, data_shape: tuple[int, ...]) -> Any:
    """-log_prob / (D log 2): nats per example [...] to bits per dimension [...], lower is better.

    For levels 0 to 255 it compares with 8 bits if log_prob is that of the level: of a density over
    x / 256 with uniform noise added, first subtract D log 256 from it.

    Raises:
        TypeError, ValueError: data_shape does not hold whole numbers of at least 1.
    """
    return -np.asarray(log_prob) / (math.prod(check_counts("data_shape", data_shape)) * math.log(2))


def active_units(vae: VAE, params: Params, x: Any, threshold: float = 0.01) -> Array:
    """Which latent dimensions are used, as [Z] of bool: Var_x(E[z_j | x]) > threshold.

    Raises:
        ValueError: x is not [B, *data_shape].
    Source: Burda et al., arXiv:1509.00519, section 5.2.
    """
    mean, _ = posterior(vae, params, x)
    return jnp.var(mean, axis=0) > threshold


def mutual_information(vae: VAE, params: Params, rng: Key, x: Any) -> tuple[float, float]:
    """I(x; z) under q over the rows of x [N, *data_shape], and its standard error, in nats.

        I = mean_i( log q(z_i | x_i) - log 1/N sum_j q(z_i | x_j) ),   z_i ~ q(z | x_i)

    x are taken for all of the data: at most log N, which is what N rows can tell apart.

    Raises:
        ValueError: x is not [N, *data_shape], or the posterior is behind a flow.
    Source: Hoffman and Johnson, ELBO surgery, 2016.
    """
    if vae.posterior.init is not None:
        raise ValueError("mutual_information compares Gaussians; this posterior is behind a flow.")
    mean, logvar = posterior(vae, params, x)
    terms = np.asarray(_information(mean, logvar, jax.random.split(rng, len(mean))), np.float64)
    error = terms.std(ddof=1) / len(terms) ** 0.5 if len(terms) > 1 else math.nan
    return float(terms.mean()), float(error)


@jax.jit
def _information(mean: Array, logvar: Array, rngs: Array) -> Array:
    def one(row: Any) -> Array:
        rng, own_mean, own_logvar = row
        z = reparameterize(rng, own_mean, own_logvar)
        own = jnp.sum(normal_log_prob(z, own_mean, own_logvar))
        logs = jnp.sum(normal_log_prob(z, mean, logvar), axis=-1)
        return own - (jax.nn.logsumexp(logs) - jnp.log(len(mean)))

    terms: Array = jax.lax.map(one, (rngs, mean, logvar), batch_size=BLOCK)
    return terms


def mutual_information_gap(codes: Any, factors: Any, num_bins: int = 20) -> float:
    """MIG of codes [N, Z] with the true factors [N, F], discrete: in [0, 1], higher is better.

    For each factor the two latents that tell most about it are compared: the gap between their
    informations, in units of the factor's entropy, averaged over factors. A latent is cut into
    `num_bins` bins of equal width.

    Raises:
        TypeError, ValueError: the arrays have different numbers of rows, there are fewer than
            two latents, or num_bins is not a whole number of at least 2.
    Source: Chen et al., arXiv:1802.04942, eq. 6.
    """
    codes, factors = np.asarray(codes), np.asarray(factors)
    check_count("num_bins", num_bins, 2)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or codes.shape[1] < 2:
        raise ValueError(
            f"codes [N, Z] with Z of at least 2 and factors [N, F] are needed, got {codes.shape} "
            f"and {factors.shape}."
        )
    edges = [np.linspace(*_range(column), num_bins + 1)[1:-1] for column in codes.T]
    binned = [np.digitize(column, edge) for column, edge in zip(codes.T, edges, strict=True)]
    gaps = []
    for factor in factors.T:
        _, values = np.unique(factor, return_inverse=True)
        found = sorted((_discrete_information(column, values) for column in binned), reverse=True)
        entropy = _discrete_information(values, values)
        gaps.append((found[0] - found[1]) / entropy if entropy > 0 else 0.0)
    return float(np.mean(gaps))


def _range(column: Any) -> tuple[float, float]:
    return float(column.min()), float(column.max())


def _discrete_information(first: Any, second: Any) -> float:
    """I of two columns of whole numbers, from their counts, in nats."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1 / len(first))
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / outer[seen])))
