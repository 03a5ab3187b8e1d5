"""Every likelihood is the density that it says it is."""

import jax
import numpy as np
import pytest
from helpers import assert_mean, draws
from scipy import integrate
from tables import LIKELIHOODS

import vae_jax

each = pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
DENSITIES = {name: row for name, row in LIKELIHOODS.items() if row.reference is not None}
each_density = pytest.mark.parametrize("row", DENSITIES.values(), ids=DENSITIES)


def log_probs(row, theta, x):
    return np.asarray(jax.jit(jax.vmap(row.make().log_prob, (None, 0)))(theta, x))


def scipy_log_probs(distribution, x):
    discrete = hasattr(distribution.dist, "pmf")
    return distribution.logpmf(x) if discrete else distribution.logpdf(x)


@each_density
def test_the_density_is_normalised(row):
    """p(x | theta) sums to 1 over the integers of its support, or integrates to 1."""
    theta = row.theta(1)
    known = row.reference(theta)
    with jax.enable_x64(True):
        if hasattr(known.dist, "pmf"):
            low, high = np.ravel(known.support())
            total = np.exp(log_probs(row, theta, np.arange(low, high + 1.0)[:, None])).sum()
        else:
            x = known.mean()[0] + known.std()[0] * np.linspace(-15, 15, 20_001)
            total = integrate.simpson(np.exp(log_probs(row, theta, x[:, None])), x=x)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


@each_density
def test_log_prob_is_that_of_scipy_summed_over_dimensions(row):
    """log p(x | theta) = sum_D of scipy.stats, at draws of x."""
    theta = row.theta(3)
    known = row.reference(theta)
    x = known.rvs(size=(50, 3), random_state=0)
    wanted = scipy_log_probs(known, x).sum(axis=1)
    found = log_probs(row, theta, x.astype(np.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@each_density
def test_mean_and_samples_have_the_moments_of_the_density(row):
    """mean(theta) = E[x] exactly; draws agree in mean and variance within 4 standard errors."""
    likelihood, theta = row.make(), row.theta(3)
    known = row.reference(theta)
    np.testing.assert_allclose(likelihood.mean(theta), known.mean(), rtol=1e-5)
    x = np.asarray(draws(lambda rng: likelihood.sample(rng, theta), 4000))
    assert_mean(x, known.mean())
    assert_mean((x - known.mean()) ** 2, known.var())


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
    likelihood, theta, x = row.make(), row.theta(3), row.good[0]
    again = vae_jax.from_text(likelihood.text)
    assert again.text == likelihood.text == vae_jax.to_text(likelihood)
    assert (again.num_params, again.shared) == (likelihood.num_params, likelihood.shared)
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
    theta, x = np.float32([0.5, -1.0, 2.0]), np.float32([1.0, 1.0, 1.5])
    error = vae_jax.squared_error().log_prob(theta, x)
    np.testing.assert_allclose(error, -(0.25 + 4.0 + 0.25), rtol=1e-6)
    density = vae_jax.normal(std=0.5**0.5).log_prob(theta, x)
    np.testing.assert_allclose(density - error, -1.5 * np.log(np.pi), rtol=1e-5)


@pytest.mark.parametrize("logit", [20.0, 100.0, 1e4])
def test_bernoulli_stays_finite_at_extreme_logits(logit):
    """log p = 0 for a sure and right bit, -|theta| for a sure and wrong one, at any |theta|."""
    theta, bits = np.float32([[logit], [-logit]]), np.float32([[1.0], [0.0]])
    right = jax.jit(jax.vmap(vae_jax.bernoulli().log_prob))
    np.testing.assert_allclose(right(theta, bits), [0.0, 0.0], atol=1e-8)
    np.testing.assert_allclose(right(-theta, bits), [-logit, -logit], rtol=1e-6)


def test_normal_learns_its_variance_from_initial_std():
    """normal() has one shared log-variance, 2 log initial_std at first; normal(std) has none."""
    np.testing.assert_allclose(vae_jax.normal(initial_std=0.5).shared, [2 * np.log(0.5)])
    np.testing.assert_allclose(vae_jax.normal().shared, [2 * np.log(0.1)])
    assert vae_jax.normal(std=0.5).shared == ()


@pytest.mark.parametrize("std", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_a_standard_deviation_must_be_a_positive_number(std):
    """std and initial_std are finite numbers above 0."""
    with pytest.raises((ValueError, TypeError), match="initial_std"):
        vae_jax.normal(initial_std=std)
    with pytest.raises((ValueError, TypeError), match="std"):
        vae_jax.normal(std=std)
