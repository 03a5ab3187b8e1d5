"""The beta-TCVAE: the KL in three parts, of which the total correlation is weighed."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from vae_jax.checks import check_count, check_number
from vae_jax.gaussian import normal_log_prob
from vae_jax.model import VAE, batch_size
from vae_jax.objectives.terms import draw_batch, report
from vae_jax.types import Array, Key, LossFn, Metrics, Params


def make_tcvae(
    vae: VAE,
    num_rows: int,
    estimator: Literal["stratified", "weighted"] = "stratified",
    *,
    alpha: float = 1.0,
    gamma: float = 1.0,
) -> LossFn:
    """The loss in which beta weighs the total correlation of the aggregate posterior alone.

        loss = -recon + alpha * I(x; z) + beta * TC(z) + gamma * sum_Z KL(q(z_j) || p(z_j))

    with I = log q(z | x) - log q(z), TC = log q(z) - sum_j log q(z_j) and the last term
    sum_j log q(z_j) - log p(z), at one z per example. q(z) is estimated from the batch, as a sample
    of the `num_rows` rows of the data. At alpha = beta = gamma = 1 the terms telescope and the loss
    is the one-sample ELBO's, whatever the estimate. Metrics: `loss`, `recon`, `kl` (log q - log p),
    `bound` (recon - kl), `mutual_information`, `total_correlation`, in nats.

    Raises:
        TypeError, ValueError: the posterior is behind a flow, num_rows is not a count of at least
            2, or, when traced, a batch of one or of more than num_rows examples.
    Source: Chen et al., arXiv:1802.04942, eq. 4; the estimators, appendix C.1.
    """
    num_rows = check_count("num_rows", num_rows, 2)
    check_number("alpha", alpha), check_number("gamma", gamma)
    if estimator not in ("stratified", "weighted"):
        raise ValueError(f"estimator is 'stratified' or 'weighted', got {estimator!r}.")
    if vae.posterior.init is not None:
        raise ValueError("make_tcvae needs the posterior diagonal_normal(), whose q(z_j) it has.")

    def loss_fn(params: Params, rng: Key, x: Any, beta: Array) -> tuple[Array, Metrics]:
        batch = draw_batch(vae, params, rng, x)
        z, log_q, log_prior = batch.draw.z, batch.draw.log_q, batch.draw.log_prior
        shares = log_shares(batch_size(x), num_rows, estimator)
        pairs = normal_log_prob(z[:, None], batch.mean[None], batch.logvar[None])
        log_qz = jax.nn.logsumexp(shares + jnp.sum(pairs, axis=-1), axis=1)
        log_qz_dims = jnp.sum(jax.nn.logsumexp(shares[..., None] + pairs, axis=1), axis=-1)
        information, correlation = jnp.mean(log_q - log_qz), jnp.mean(log_qz - log_qz_dims)
        recon, kl = jnp.mean(batch.draw.log_lik), jnp.mean(log_q - log_prior)
        apart = jnp.mean(log_qz_dims - log_prior)
        loss = alpha * information + beta * correlation + gamma * apart - recon
        more = {"mutual_information": information, "total_correlation": correlation}
        return report(loss, recon, kl, recon - kl, **more)

    return loss_fn


def log_shares(size: int, num_rows: int, estimator: str) -> Array:
    """log of the share [B, B] with which example j's posterior enters the estimate of q(z_i).

    weighted:   1 / (B N).
    stratified: 1/N for i itself, (N - 1) / (N (B - 1)) for each of the others, which stand for all
                other rows: without bias, and exact where the batch is all of the data. The source
                gives one of the others, chosen at random, a share of its own; this is the mean
                over that choice.
    """
    if not 2 <= size <= num_rows:
        raise ValueError(f"make_tcvae needs batches of 2 to num_rows={num_rows} rows, got {size}.")
    if estimator == "weighted":
        return jnp.full((size, size), -math.log(size * num_rows))
    other = math.log((num_rows - 1) / (num_rows * (size - 1)))
    return jnp.where(jnp.eye(size, dtype=bool), -math.log(num_rows), other)
