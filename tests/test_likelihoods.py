"""Every likelihood is the density that it says it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean
from scipy import integrate
from tables import LIKELIHOODS

import vae_jax

each = pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
densities = {name: row for name, row in LIKELIHOODS.items() if row.reference is not None}
each_density = pytest.mark.parametrize("row", densities.values(), ids=densities)


def reference(row, num_dims):
    return row.reference(np.asarray(row.theta(num_dims), np.float64))


def log_density(distribution, x):
    discrete = hasattr(distribution.dist, "pmf")
    return distribution.logpmf(x) if discrete else distribution.logpdf(x)


@each_density
def test_the_density_is_normalised(row):
    """p(x | theta) sums to 1 over the integers of its support, or integrates to 1."""
    likelihood, theta, known = row.make(), row.theta(1), reference(row, 1)
    with jax.enable_x64(True):

        def density(x):
            return np.exp(jax.vmap(likelihood.log_prob, (None, 0))(theta, jnp.asarray(x)[:, None]))

        if hasattr(known.dist, "pmf"):
            low, high = known.support()
            total = density(np.arange(float(low[0]), float(high[0]) + 1)).sum()
        else:
            x = known.mean()[0] + known.std()[0] * np.linspace(-15, 15, 20_001)
            total = integrate.simpson(density(x), x=x)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


@each_density
def test_log_prob_is_that_of_scipy_summed_over_dimensions(row):
    """log p(x | theta) = sum_D of scipy.stats, at draws and far in the tails."""
    likelihood, known = row.make(), reference(row, 3)
    x = known.rvs(size=(50, 3), random_state=0)
    found = jax.vmap(likelihood.log_prob, (None, 0))(row.theta(3), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, log_density(known, x).sum(axis=1), rtol=1e-4, atol=1e-4)


@each_density
def test_mean_and_samples_have_the_moments_of_the_density(row):
    """mean(theta) = E[x] exactly; draws agree in mean and variance within 4 standard errors."""
    likelihood, theta, known = row.make(), row.theta(3), reference(row, 3)
    np.testing.assert_allclose(likelihood.mean(theta), known.mean(), rtol=1e-5)
    draws = jax.vmap(likelihood.sample, (0, None))(jax.random.split(jax.random.key(0), 4000), theta)
    assert_mean(draws, known.mean())
    assert_mean(np.square(draws - known.mean()), known.var())


@each
def test_shapes_and_randomness(row):
    """mean and sample are [D]; a draw is a function of the key, and of no other state."""
    likelihood, theta = row.make(), row.theta(10)
    one, same, other = (likelihood.sample(jax.random.key(k), theta) for k in (0, 0, 1))
    assert likelihood.mean(theta).shape == one.shape == (10,)
    assert likelihood.log_prob(theta, one).shape == ()
    assert theta.shape == (10 * likelihood.num_params + len(likelihood.shared),)
    np.testing.assert_array_equal(one, same)
    if row.reference is None:
        np.testing.assert_array_equal(one, likelihood.mean(theta))
    else:
        assert not np.array_equal(one, other)


@each
def test_the_text_makes_the_same_likelihood_again(row):
    """from_text(text) has the same text, initial values and density."""
    likelihood, theta = row.make(), row.theta(3)
    again = vae_jax.from_text(likelihood.text)
    assert again.text == likelihood.text == vae_jax.to_text(likelihood)
    assert (again.num_params, again.shared) == (likelihood.num_params, likelihood.shared)
    x = jnp.asarray(row.good[0], jnp.float32)
    np.testing.assert_array_equal(again.log_prob(theta, x), likelihood.log_prob(theta, x))


@each
def test_data_outside_the_support_is_refused(row):
    """check passes data of the support and raises ValueError or TypeError for any other."""
    check = row.make().check
    check(row.good)
    for bad in row.bad:
        with pytest.raises((ValueError, TypeError), match="got"):
            check(bad)


def test_squared_error_is_minus_a_sum_of_squares():
    """log_prob = -sum_D (x - theta)^2, which is a Gaussian of variance 1/2 less its constant."""
    theta, x = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 1.0, 1.5])
    loss = vae_jax.squared_error().log_prob(theta, x)
    np.testing.assert_allclose(loss, -(0.25 + 4.0 + 0.25), rtol=1e-6)
    density = vae_jax.normal(std=0.5**0.5).log_prob(theta, x)
    np.testing.assert_allclose(density - loss, -1.5 * np.log(np.pi), rtol=1e-5)


@pytest.mark.parametrize("logit", [20.0, 100.0, 1e4])
def test_bernoulli_stays_finite_at_extreme_logits(logit):
    """log p = 0 for a sure and right bit, -|theta| for a sure and wrong one, at any |theta|."""
    bits = jnp.array([[1.0], [0.0]])
    for sign in (1.0, -1.0):
        log_probs = jax.vmap(vae_jax.bernoulli().log_prob)(jnp.full((2, 1), sign * logit), bits)
        wanted = [0.0, -logit] if sign > 0 else [-logit, 0.0]
        np.testing.assert_allclose(log_probs, wanted, rtol=1e-6, atol=1e-8)


def test_normal_learns_its_variance_from_initial_std():
    """normal(): one shared log-variance, starting at 2 log initial_std and found in params."""
    np.testing.assert_allclose(vae_jax.normal(initial_std=0.5).shared, [2 * np.log(0.5)])
    np.testing.assert_allclose(vae_jax.normal().shared, [2 * np.log(0.1)])
    assert vae_jax.normal(std=0.5).shared == ()


@pytest.mark.parametrize("std", [0, -1.0, float("nan"), float("inf"), "1", True, None])
def test_a_standard_deviation_must_be_a_positive_number(std):
    """std and initial_std are finite numbers above 0."""
    with pytest.raises((ValueError, TypeError), match="initial_std"):
        vae_jax.normal(initial_std=std)
    if std is not None:
        with pytest.raises((ValueError, TypeError), match="std"):
            vae_jax.normal(std=std)
