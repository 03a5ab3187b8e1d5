"""log p(x) by importance sampling, with its error, in memory that no number of samples fills."""

import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count
from vae_jax.draws import draw_from
from vae_jax.model import VAE, batch_size, check_batch, split_condition
from vae_jax.progress import show_nothing, show_progress
from vae_jax.types import Array, Key, Params

ROWS = 128
"""Examples that are looked at together."""

DRAWS = 4096
"""Latents that are decoded together: ROWS times the samples of one chunk."""

WORN_OUT = 0.01
"""The share of examples with degenerate weights from which on one is warned."""


class Marginal(NamedTuple):
    """Estimates for each of N examples, in nats: [N] each, float64 arrays of numpy."""

    log_prob: np.ndarray[Any, Any]
    """log p(x), too low by half the squared standard error in expectation."""
    standard_error: np.ndarray[Any, Any]
    """Of log_prob, by the delta method from the variance of the weights."""
    ess: np.ndarray[Any, Any]
    """Effective sample size, (sum w)^2 / sum w^2: between 1 and the number of samples."""


def log_marginal(
    vae: VAE,
    params: Params,
    rng: Key,
    x: Any,
    num_samples: int = 1000,
    *,
    progress: bool = False,
) -> Marginal:
    """log p(x) of each example of x [N, *data_shape], as a `Marginal` of [N] each, in nats.

        log p(x) ~ log 1/K sum_k p(x, z_k) / q(z_k | x),   z_k ~ q(z | x)

    The weights of a chunk of samples are folded into their running maximum, sum and sum of
    squares, so neither time nor memory hinders a large K. The noise of an example comes from
    (rng, its row), so a subset's first rows give the same numbers as the whole.

    Warns:
        UserWarning: in more than 1 % of the examples fewer than two samples carry the weight. Their
            estimates are too low and their errors too small.
    Raises:
        TypeError, ValueError: num_samples is not a whole number of at least 2, or x is not
            [N, *data_shape].
    Source: Burda et al., arXiv:1509.00519, eq. 8; effective sample size: Kong, 1992.
    """
    num_samples = check_count("num_samples", num_samples, 2)
    check_batch(vae, x)
    num_rows = batch_size(x)
    block = min(ROWS, num_rows)
    parts = []
    with (show_progress if progress else show_nothing)(num_rows, 0, "log p(x)") as report:
        for first in range(0, num_rows, block):
            rows = np.minimum(np.arange(first, first + block), num_rows - 1)
            batch = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf[rows]), x)
            part = _block(vae, num_samples, params, rng, batch, jnp.asarray(rows))
            parts.append(np.asarray(part, np.float64)[:, : num_rows - first])
            report(min(first + block, num_rows), {"log p(x)": parts[-1][0]})
    found = Marginal(*np.concatenate(parts, axis=1))
    _warn(found, num_samples)
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _block(vae: VAE, num_samples: int, params: Params, rng: Key, x: Any, rows: Array) -> Array:
    """log_prob, standard_error and ess of one block of examples: [3, B]."""
    size = batch_size(x)
    chunk = min(num_samples, max(1, DRAWS // size))

    def weights(row: Array, x: Any, gaussian: Any, index: Array) -> Array:
        """log-weights [S] of one chunk of one example; past num_samples there are none."""
        x, condition = split_condition(vae, x)
        rng_chunk = jax.random.fold_in(jax.random.fold_in(rng, row), index)

        def log_w(rng: Key) -> Array:
            one = draw_from(vae, params, rng, x, gaussian, condition)
            return one.log_lik + one.log_prior - one.log_q

        logs = jax.vmap(log_w)(jax.random.split(rng_chunk, chunk))
        return jnp.where(index * chunk + jnp.arange(chunk) < num_samples, logs, -jnp.inf)

    def encode(x: Any) -> tuple[Array, Array]:
        x, condition = split_condition(vae, x)
        return vae.encode(params, x, *condition)

    gaussians = jax.vmap(encode)(x)

    def fold(index: Array, sums: Any) -> Any:
        top, first, second = sums
        logs = jax.vmap(weights, in_axes=(0, 0, 0, None))(rows, x, gaussians, index)
        higher = jnp.maximum(top, jnp.max(logs, axis=1))
        scaled = jnp.exp(logs - higher[:, None])
        first = first * jnp.exp(top - higher) + jnp.sum(scaled, axis=1)
        second = second * jnp.exp(2 * (top - higher)) + jnp.sum(jnp.square(scaled), axis=1)
        return higher, first, second

    zeros = jnp.zeros(size)
    start = (jnp.full(size, -jnp.finfo(zeros.dtype).max), zeros, zeros)
    top, first, second = jax.lax.fori_loop(0, -(-num_samples // chunk), fold, start)
    log_prob = top + jnp.log(first / num_samples)
    ess = jnp.square(first) / second
    relative = jnp.maximum(num_samples / ess - 1.0, 0.0) / (num_samples - 1)
    return jnp.stack([log_prob, jnp.sqrt(relative), ess])


def _warn(found: Marginal, num_samples: int) -> None:
    worn = np.flatnonzero(~(found.ess >= 2.0))
    if len(worn) > WORN_OUT * len(found.ess):
        warnings.warn(
            f"In {len(worn)} of {len(found.ess)} examples (first {worn[:5].tolist()}) fewer than "
            f"two of {num_samples} samples carry the weight: log p(x) is too low there and its "
            f"error not to be trusted. Take more samples, or train the encoder further.",
            stacklevel=3,
        )
