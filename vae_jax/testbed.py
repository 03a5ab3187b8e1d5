"""Problems with known answers: check your own likelihood, prior, bound or estimator in seconds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count, check_positive
from vae_jax.draws import log_joint
from vae_jax.likelihoods import normal
from vae_jax.model import VAE, build_vae, check_batch
from vae_jax.networks import MLPDecoder, MLPEncoder
from vae_jax.priors import standard_normal
from vae_jax.types import Array, Key, Params


class LinearGaussian(NamedTuple):
    """A VAE whose evidence is known, and parameters under which q(z | x) is the true posterior."""

    vae: VAE
    params: Params
    log_evidence: Callable[[Any], Array]
    """x [N, D] -> log p(x) [N], in nats."""
    sample: Callable[[Key, int], Array]
    """rng, N -> x [N, D] from p(x)."""


def linear_gaussian(
    rng: Key, num_dims: int = 4, latent_dim: int = 2, std: float = 0.3
) -> LinearGaussian:
    """p(x | z) = N(W z + b, std^2 I), p(z) = N(0, I), W [D, Z] with orthogonal columns.

    Then p(x) = N(b, W W^T + std^2 I), and the true posterior is a diagonal Gaussian, which the
    affine encoder holds exactly: variance v = 1 / (diag(W^T W) / std^2 + 1), mean
    v W^T (x - b) / std^2. Every draw of `log_weight` is then log p(x) itself; change the encoder's
    parameters to see what an estimator does with a wrong posterior.

    Raises:
        TypeError, ValueError: a size is not a whole number of at least 1, latent_dim is above
            num_dims, or std is not a finite number above 0.
    Source: Tipping and Bishop, J. R. Stat. Soc. B 61, 1999, eq. 3 to 6.
    """
    num_dims, latent_dim = check_count("num_dims", num_dims), check_count("latent_dim", latent_dim)
    std = check_positive("std", std)
    if latent_dim > num_dims:
        raise ValueError(f"latent_dim={latent_dim} must not be above num_dims={num_dims}.")
    rng_w, rng_b = jax.random.split(rng)
    directions, _ = np.linalg.qr(np.asarray(jax.random.normal(rng_w, (num_dims, latent_dim))))
    weights = directions * np.geomspace(2.0, 0.5, latent_dim)
    bias = np.asarray(jax.random.normal(rng_b, (num_dims,)), np.float64)
    variance = 1 / (np.sum(np.square(weights), axis=0) / std**2 + 1)
    gain = weights * variance / std**2
    encoder = _affine(
        np.concatenate([gain, np.zeros_like(gain)], axis=1),
        np.concatenate([-bias @ gain, np.log(variance)]),
    )
    vae = build_vae(
        MLPEncoder(latent_dim, ()), MLPDecoder(num_dims, ()), likelihood=normal(std=std),
        prior=standard_normal(latent_dim), data_shape=(num_dims,),
    )  # fmt: skip
    params = {"encoder": encoder, "decoder": _affine(weights.T, bias)}
    root = np.linalg.cholesky(weights @ weights.T + std**2 * np.eye(num_dims))
    constant = num_dims / 2 * math.log(2 * math.pi) + float(np.sum(np.log(np.diag(root))))

    def log_evidence(x: Any) -> Array:
        whitened = jnp.linalg.solve(jnp.asarray(root), (jnp.asarray(x) - bias).T)
        return -0.5 * jnp.sum(jnp.square(whitened), axis=0) - constant

    def sample(rng: Key, num_rows: int) -> Array:
        eps = jax.random.normal(rng, (check_count("num_rows", num_rows), num_dims))
        return jnp.asarray(bias) + eps @ jnp.asarray(root).T

    return LinearGaussian(vae, params, log_evidence, sample)


def _affine(kernel: Any, bias: Any) -> Params:
    return {"layers": {"out": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}}


def quadrature(
    vae: VAE, params: Params, x: Any, *, extent: float = 7.0, num_points: int = 401
) -> Array:
    """log p(x) [N] in nats for latents of one or two dimensions, by the trapezoidal rule.

    The integral over [-extent, extent]^Z of p(x | z) p(z), on `num_points` in each dimension. For
    integrands that vanish at the ends the rule's error falls faster than any power of the
    spacing, as long as that is below the posterior's width.

    Raises:
        TypeError, ValueError: more than two latent dimensions, a conditional VAE, x not
            [N, *data_shape], or a bad number.
    """
    check_batch(vae, x)
    extent, num_points = check_positive("extent", extent), check_count("num_points", num_points, 2)
    latent_dim = vae.prior.latent_dim
    if latent_dim > 2 or vae.condition_shape is not None:
        raise ValueError("quadrature takes unconditional VAEs of one or two latent dimensions.")
    side = jnp.linspace(-extent, extent, num_points)
    area = latent_dim * math.log(2 * extent / (num_points - 1))

    def over(z: Array, x: Array) -> Array:
        return jnp.sum(jnp.stack(log_joint(vae, params, z, x)))

    def one(x: Array) -> Array:
        if latent_dim == 1:
            return jax.nn.logsumexp(jax.vmap(lambda a: over(a[None], x))(side)) + area
        lines = jax.lax.map(
            lambda a: jax.nn.logsumexp(jax.vmap(lambda b: over(jnp.stack([a, b]), x))(side)), side
        )
        return jax.nn.logsumexp(lines) + area

    found: Array = jax.jit(lambda x: jax.lax.map(one, x))(jnp.asarray(x))
    return found
