"""Every prior is a density, with the KL and the draws that belong to it."""

import jax
import numpy as np
import pytest
from helpers import assert_mean, draws
from scipy import integrate, stats
from tables import PRIORS

import vae_jax

each = pytest.mark.parametrize("make", PRIORS.values(), ids=PRIORS)
GRID = np.linspace(-15.0, 15.0, 6001)


def density(prior):
    """p(z) of a one-dimensional prior on GRID."""
    return np.exp(np.asarray(jax.jit(jax.vmap(prior.log_prob))(GRID[:, None])))


@each
def test_the_density_is_normalised(make):
    """The integral of p(z) over one dimension is 1."""
    with jax.enable_x64(True):
        total = integrate.simpson(density(make(1)), x=GRID)
    np.testing.assert_allclose(total, 1.0, atol=1e-8)


@each
def test_samples_have_the_moments_of_the_density(make):
    """E[z] and E[z^2] of draws equal those of p(z) by quadrature within 4 standard errors."""
    prior = make(1)
    p, z = density(prior), np.asarray(draws(prior.sample, 4000))
    assert z.shape == (4000, 1)
    assert_mean(z[:, 0], integrate.simpson(p * GRID, x=GRID))
    assert_mean(z[:, 0] ** 2, integrate.simpson(p * GRID**2, x=GRID))


@each
def test_the_closed_form_kl_is_the_expectation_that_it_stands_for(make):
    """sum_Z kl_per_dim = E_q[log q(z) - log p(z)] within 4 standard errors."""
    prior = make(3)
    mean, logvar = np.float32([0.0, 1.5, -0.5]), np.float32([-3.0, 0.5, 1.0])
    kl = np.asarray(prior.kl_per_dim(mean, logvar))
    assert kl.shape == (3,)
    z = stats.norm(mean, np.exp(logvar / 2)).rvs(size=(4000, 3), random_state=0)
    log_q = stats.norm(mean, np.exp(logvar / 2)).logpdf(z).sum(axis=1)
    log_p = jax.jit(jax.vmap(prior.log_prob))(z.astype(np.float32))
    assert_mean(log_q - log_p, kl.sum())


@each
def test_shapes_randomness_and_text(make):
    """sample is [Z] and a function of the key; the text makes the same prior again."""
    prior = make(5)
    one, same, other = (prior.sample(jax.random.key(k)) for k in (0, 0, 1))
    assert prior.latent_dim == 5
    assert one.shape == (5,)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    again = vae_jax.from_text(prior.text)
    assert (again.text, again.latent_dim) == (vae_jax.to_text(prior), 5)
    assert again.log_prob(one) == prior.log_prob(one)


@each
@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, "2", True, None])
def test_the_latent_dimension_must_be_a_count(make, latent_dim):
    """latent_dim is a whole number of at least 1."""
    with pytest.raises((ValueError, TypeError), match="latent_dim"):
        make(latent_dim)


def test_standard_normal_is_scipys():
    """log p(z) = sum_Z log N(z; 0, 1)."""
    z = np.linspace(-8, 8, 12).reshape(4, 3)
    found = jax.jit(jax.vmap(vae_jax.standard_normal(3).log_prob))(z)
    np.testing.assert_allclose(found, stats.norm.logpdf(z).sum(axis=1), rtol=1e-6)
