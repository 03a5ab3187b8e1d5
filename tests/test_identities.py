"""Identities that hold exactly, and estimators against what they estimate."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean, tiny_vae
from scipy import integrate, special, stats

import vae_jax


def test_kl_of_shifted_and_widened_gaussians():
    """KL(N(1,1)^10 || N(0,1)^10) = 5; with mean 1 and logvar 1 it is 5 (e - 1)."""
    ones, zeros = jnp.ones(10), jnp.zeros(10)
    np.testing.assert_allclose(vae_jax.kl_standard_normal(ones, zeros).sum(), 5.0, rtol=1e-6)
    kl = vae_jax.kl_standard_normal(ones, ones).sum()
    np.testing.assert_allclose(kl, 5 * (math.e - 1), rtol=1e-6)
    np.testing.assert_array_equal(vae_jax.kl_standard_normal(zeros, zeros), zeros)


def test_a_small_kl_keeps_its_digits():
    """KL = logvar^2 / 4 + O(logvar^3) near the prior: not rounded to 0 in float32."""
    logvar = np.float32([1e-2, -1e-2, 1e-3, -1e-3])
    exact = (np.expm1(logvar.astype(float)) - logvar.astype(float)) / 2
    found = vae_jax.kl_standard_normal(jnp.zeros(4), jnp.asarray(logvar))
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_the_gaussian_density_is_scipys():
    """log N(1; 0, 1) = -1.4189; elsewhere scipy.stats.norm, broadcasting."""
    np.testing.assert_allclose(vae_jax.normal_log_prob(1.0, 0.0, 0.0), -1.4189385, rtol=1e-7)
    x, mean = np.linspace(-5, 5, 7)[:, None], np.array([0.0, 2.0, -1.0])
    logvar = np.array([0.0, -3.0, 4.0])
    wanted = stats.norm(mean, np.exp(logvar / 2)).logpdf(x)
    np.testing.assert_allclose(vae_jax.normal_log_prob(x, mean, logvar), wanted, rtol=1e-5)


def test_reparameterized_draws_have_the_mean_and_variance_asked_for():
    """z = mean + exp(logvar / 2) eps: E[z] = mean, Var[z] = exp(logvar), dz/dmean = 1."""
    mean, logvar = jnp.array([0.0, 3.0, -2.0]), jnp.array([0.0, -4.0, 2.0])
    rngs = jax.random.split(jax.random.key(0), 4000)
    z = jax.vmap(vae_jax.reparameterize, (0, None, None))(rngs, mean, logvar)
    assert_mean(z, mean)
    assert_mean(jnp.square(z - mean), jnp.exp(logvar))
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(3), atol=4 / 4000**0.5)
    to_mean, to_logvar = jax.jacobian(vae_jax.reparameterize, (1, 2))(rngs[0], mean, logvar)
    np.testing.assert_array_equal(to_mean, np.eye(3))
    np.testing.assert_allclose(to_logvar, np.diag((z[0] - mean) / 2), rtol=1e-5, atol=1e-7)


def test_mean_and_logvar_must_have_one_shape():
    """Broadcasting one noise over many means would be a silent mistake."""
    with pytest.raises(ValueError, match="one shape"):
        vae_jax.reparameterize(jax.random.key(0), jnp.zeros(3), jnp.zeros(1))


def test_elbo_is_recon_minus_kl_on_floats_and_arrays():
    """elbo = recon - kl, of the type that went in."""
    assert vae_jax.elbo(-1.5, 2.0) == -3.5
    assert isinstance(vae_jax.elbo(-1.5, 2.0), float)
    found = vae_jax.elbo(jnp.array([-1.0, 0.0]), jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(found, [-1.5, -2.0])


def test_log_mean_exp_is_the_logarithm_of_the_mean():
    """log mean exp(v) along an axis, without overflow or underflow."""
    values = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    for axis in (0, 1, -1):
        wanted = np.log(np.exp(values).mean(axis=axis))
        found = vae_jax.log_mean_exp(jnp.asarray(values), axis)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    far = vae_jax.log_mean_exp(jnp.array([[-1e4, -1e4], [1e4, 1e4]]))
    np.testing.assert_array_equal(far, [-1e4, 1e4])
    assert vae_jax.log_mean_exp(jnp.full(4, -jnp.inf)) == -jnp.inf
    with pytest.raises(ValueError, match="at least one"):
        vae_jax.log_mean_exp(jnp.zeros((2, 0)))


def exact_linear_vae(std=0.3):
    """A linear VAE whose columns of W are orthogonal, with its exact posterior, in float64.

    p(x | z) = N(W z + b, std^2 I). With W^T W diagonal the posterior is too:
    variance (W^T W / std^2 + 1)^-1, mean = variance W^T (x - b) / std^2.
    """
    rng = np.random.default_rng(0)
    weights = np.linalg.qr(rng.normal(size=(4, 2)))[0] * [2.0, 0.7]
    bias = rng.normal(size=4)
    variance = 1 / (np.diag(weights.T @ weights) / std**2 + 1)
    gain = weights * variance / std**2
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, ()),
        vae_jax.MLPDecoder(4, ()),
        likelihood=vae_jax.normal(std=std),
        prior=vae_jax.standard_normal(2),
        data_shape=(4,),
    )
    encoder = {
        "kernel": np.concatenate([gain, np.zeros((4, 2))], axis=1),
        "bias": np.concatenate([-bias @ gain, np.log(variance)]),
    }
    params = {"encoder": {"out": encoder}, "decoder": {"out": {"kernel": weights.T, "bias": bias}}}
    evidence = stats.multivariate_normal(bias, weights @ weights.T + std**2 * np.eye(4))
    return vae, jax.tree.map(jnp.asarray, params), evidence


def test_the_exact_posterior_leaves_the_log_weight_no_variance():
    """With q = p(z | x) every draw of log_weight is log N(x; b, W W^T + std^2 I)."""
    with jax.enable_x64(True):
        vae, params, evidence = exact_linear_vae()
        x = jnp.asarray(evidence.rvs(20, random_state=1))
        rngs = jax.random.split(jax.random.key(0), 50)
        weight = jax.vmap(
            jax.vmap(vae_jax.log_weight, (None, None, None, 0)), (None, None, 0, None)
        )
        log_weights = weight(vae, params, rngs, x)
        assert log_weights.dtype == jnp.float64
        wanted = np.broadcast_to(evidence.logpdf(x), (50, 20))
        np.testing.assert_allclose(log_weights, wanted, rtol=1e-12)


def test_the_elbo_of_the_exact_posterior_is_the_evidence():
    """E[log p(x | z)] - KL = log p(x): the loss averaged over draws, within 4 standard errors."""
    with jax.enable_x64(True):
        vae, params, evidence = exact_linear_vae()
        x = jnp.asarray(evidence.rvs(5, random_state=1))
        loss_fn = vae_jax.make_elbo(vae)
        rngs = jax.random.split(jax.random.key(0), 2000)
        losses, _ = jax.vmap(loss_fn, (None, 0, None, None))(params, rngs, x, 1.0)
        assert_mean(-losses, evidence.logpdf(x).mean())


def test_importance_weights_estimate_the_evidence():
    """log mean_K exp(log_weight) = log p(x) by quadrature over a 2-D latent, nonlinear decoder."""
    vae = tiny_vae(vae_jax.normal(std=0.5))
    params = jax.tree.map(lambda leaf: 2.0 * leaf, vae.init(jax.random.key(5)))
    x = jnp.array([0.6, -0.4, 0.1])
    side = jnp.linspace(-7.0, 7.0, 201)
    grid = jnp.stack(jnp.meshgrid(side, side, indexing="ij"), axis=-1)

    def joint(z):
        return vae.likelihood.log_prob(vae.decode(params, z), x) + vae.prior.log_prob(z)

    values = np.exp(jax.vmap(jax.vmap(joint))(grid))
    evidence = integrate.simpson(integrate.simpson(values, x=side), x=side)
    rngs = jax.random.split(jax.random.key(0), 10_000)
    log_weights = jax.vmap(lambda rng: vae_jax.log_weight(vae, params, rng, x))(rngs)
    assert_mean(np.exp(log_weights), evidence)
    estimate = vae_jax.log_mean_exp(log_weights)
    np.testing.assert_allclose(estimate, special.logsumexp(log_weights) - np.log(10_000), rtol=1e-5)
    assert log_weights.mean() < np.log(evidence)


def test_the_mean_log_weight_is_the_elbo():
    """E[log_weight] = -E[loss] at beta = 1: sampled and closed KL agree within 4 standard errors."""
    vae = tiny_vae()
    params = vae.init(jax.random.key(5))
    x = jnp.array([0.6, -0.4, 0.1])
    loss_fn = vae_jax.make_elbo(vae)

    def both(rng):
        rng_weight, rng_loss = jax.random.split(rng)
        loss, _ = loss_fn(params, rng_loss, x[None], 1.0)
        return vae_jax.log_weight(vae, params, rng_weight, x) + loss

    assert_mean(jax.vmap(both)(jax.random.split(jax.random.key(0), 4000)), 0.0)
