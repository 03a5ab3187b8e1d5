"""Closed forms that hold exactly."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean, draws
from scipy import special, stats

import vae_jax
from vae_jax.numerics import log_factorial_rest, stirling_error


def test_kl_of_shifted_and_widened_gaussians():
    """KL(N(1,1)^10 || N(0,1)^10) = 5; with mean 1 and logvar 1 it is 5 (e - 1)."""
    ones, zeros = np.ones(10, np.float32), np.zeros(10, np.float32)
    np.testing.assert_allclose(vae_jax.kl_standard_normal(ones, zeros).sum(), 5.0, rtol=1e-6)
    kl = vae_jax.kl_standard_normal(ones, ones).sum()
    np.testing.assert_allclose(kl, 5 * (math.e - 1), rtol=1e-6)
    np.testing.assert_array_equal(vae_jax.kl_standard_normal(zeros, zeros), zeros)


def test_a_small_kl_keeps_its_digits():
    """KL = logvar^2 / 4 + O(logvar^3) near the prior: not rounded away in float32."""
    logvar = np.float32([1e-2, -1e-2, 1e-3, -1e-3])
    exact = (np.expm1(logvar.astype(float)) - logvar.astype(float)) / 2
    found = vae_jax.kl_standard_normal(np.zeros(4, np.float32), logvar)
    np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_the_gaussian_density_is_scipys():
    """log N(1; 0, 1) = -1.4189; elsewhere scipy.stats.norm, broadcasting."""
    np.testing.assert_allclose(vae_jax.normal_log_prob(1.0, 0.0, 0.0), -1.4189385, rtol=1e-7)
    x, mean = np.linspace(-5, 5, 7)[:, None], np.array([0.0, 2.0, -1.0])
    logvar = np.array([0.0, -3.0, 4.0])
    wanted = stats.norm(mean, np.exp(logvar / 2)).logpdf(x)
    np.testing.assert_allclose(vae_jax.normal_log_prob(x, mean, logvar), wanted, rtol=1e-5)


def test_reparameterized_draws_have_the_mean_and_variance_asked_for():
    """z = mean + exp(logvar / 2) eps: E[z] = mean, Cov[z] = diag(exp(logvar))."""
    mean, logvar = np.float32([0.0, 3.0, -2.0]), np.float32([0.0, -4.0, 2.0])
    z = np.asarray(draws(lambda rng: vae_jax.reparameterize(rng, mean, logvar), 4000))
    assert_mean(z, mean)
    assert_mean((z - mean) ** 2, np.exp(logvar))
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(3), atol=4 / 4000**0.5)


def test_draws_are_differentiable_in_mean_and_logvar():
    """dz / dmean = I, dz / dlogvar = diag((z - mean) / 2)."""
    rng, mean, logvar = jax.random.key(0), np.float32([0.0, 3.0]), np.float32([0.0, -4.0])
    z = vae_jax.reparameterize(rng, mean, logvar)
    slopes = jax.jit(jax.jacobian(vae_jax.reparameterize, (1, 2)))(rng, mean, logvar)
    np.testing.assert_array_equal(slopes[0], np.eye(2))
    np.testing.assert_allclose(slopes[1], np.diag((z - mean) / 2), rtol=1e-5, atol=1e-7)


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


def test_stirling_error_completes_the_log_gamma():
    """log Gamma(a) = (a - 1/2) log a - a + log(2 pi) / 2 + stirling_error(a), from 1e-6 to 1e20;
    log count! = count log count - count + log_factorial_rest(count), also at 0."""
    a = np.geomspace(1e-6, 50.0, 200).astype(np.float32).astype(np.float64)
    wanted = special.gammaln(a) - (a - 0.5) * np.log(a) + a - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(stirling_error(np.float32(a)), wanted, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(stirling_error(np.float32([1e3, 1e20])), [1 / 12e3, 0], atol=1e-9)
    count = np.float32([0, 1, 2, 7, 8, 9, 255])
    rest = special.gammaln(count + 1.0) - special.xlogy(count, count) + count
    np.testing.assert_allclose(log_factorial_rest(count), rest, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [0, -1])
def test_log_mean_exp_is_the_logarithm_of_the_mean(axis):
    """log mean exp(v) along an axis, which goes."""
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = jax.jit(vae_jax.log_mean_exp, static_argnums=1)(values, axis)
    wanted = np.log(np.exp(values).mean(axis=axis))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_log_mean_exp_neither_overflows_nor_vanishes():
    """log mean exp(v + c) = c + log mean exp(v) for any c; of no evidence at all it is -inf."""
    values = np.float32([[-1e4, -1e4], [1e4, 1e4], [-np.inf, -np.inf]])
    found = jax.jit(vae_jax.log_mean_exp)(values)
    np.testing.assert_array_equal(found, [-1e4, 1e4, -np.inf])
    with pytest.raises(ValueError, match="at least one"):
        vae_jax.log_mean_exp(jnp.zeros((2, 0)))
