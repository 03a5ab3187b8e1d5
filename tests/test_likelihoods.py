"""Every likelihood is the density that it says it is."""

import itertools

import jax
import numpy as np
import pytest
from helpers import assert_mean, draws
from likelihood_table import LIKELIHOODS
from scipy import integrate

import vae_jax

each = pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)
DENSITIES = {name: row for name, row in LIKELIHOODS.items() if row.reference is not None}
each_density = pytest.mark.parametrize("row", DENSITIES.values(), ids=DENSITIES)


def log_probs(row, theta, x):
    return np.asarray(jax.jit(jax.vmap(row.make().log_prob, (None, 0)))(theta, x))


def reference_log_probs(known, x):
    return known.logpmf(x) if hasattr(known, "pmf") else known.logpdf(x)


@each_density
def test_the_density_is_normalised(row):
    """p(x | theta) sums to 1 over the whole numbers of its support, or integrates to 1."""
    theta = np.float64(row.theta(1))
    known = row.reference(theta)
    low, high = (np.ravel(end)[0] for end in known.support())
    mean, std = np.ravel(known.mean())[0], np.ravel(known.std())[0]
    with jax.enable_x64(True):
        if hasattr(known, "pmf"):
            x = row.step * np.arange(low, min(high, mean + 60 * std) + 1.0)
            total = np.exp(log_probs(row, theta, x[:, None])).sum()
        else:
            x = np.linspace(max(low, mean - 15 * std), min(high, mean + 15 * std), 20_001)
            total = integrate.simpson(np.exp(log_probs(row, theta, x[:, None])), x=x)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


@each_density
def test_log_prob_is_that_of_the_reference_summed_over_dimensions(row):
    """log p(x | theta) = sum_D of scipy.stats, at draws of x."""
    theta = row.theta(3)
    known = row.reference(theta)
    x = known.rvs(size=(50, 3), random_state=0)
    wanted = reference_log_probs(known, x).sum(axis=1)
    found = log_probs(row, theta, (row.step * x).astype(np.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@each_density
def test_gradients_are_slopes_of_the_reference(row):
    """d log p / d theta in float32 is the reference's central difference in float64."""
    theta, step = np.float64(row.theta(3)), 1e-5
    x = row.reference(theta).rvs(size=(20, 3), random_state=0)
    values = (row.step * x).astype(np.float32)
    grad = jax.jit(jax.vmap(jax.grad(row.make().log_prob), (None, 0)))
    found = grad(theta.astype(np.float32), values)

    def moved(by):
        return reference_log_probs(row.reference(theta + by), x).sum(axis=1)

    wanted = [(moved(by) - moved(-by)) / (2 * step) for by in step * np.eye(theta.size)]
    np.testing.assert_allclose(found, np.stack(wanted, axis=1), rtol=1e-3, atol=1e-3)


@each_density
def test_values_and_gradients_are_finite_at_extreme_parameters(row):
    """Each parameter at -50, -7, 0, 7 and 50 with all others: log p and its slopes are numbers,
    and float64's numbers."""
    likelihood = row.make()
    theta = np.float32(
        [*itertools.product([-50.0, -7.0, 0.0, 7.0, 50.0], repeat=row.theta(1).size)]
    )
    one = jax.vmap(jax.value_and_grad(likelihood.log_prob), (0, None))
    value_and_grad = jax.jit(jax.vmap(one, (None, 0)))
    found = value_and_grad(theta, row.good.reshape(-1, 1))
    with jax.enable_x64(True):
        wanted = value_and_grad(np.float64(theta), np.float64(row.good.reshape(-1, 1)))
    for single, double in zip(found, wanted, strict=True):
        assert np.isfinite(single).all()
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4)
    assert np.isfinite(jax.jit(jax.vmap(likelihood.mean))(theta)).all()
    x = draws(lambda rng: jax.vmap(likelihood.sample, (None, 0))(rng, theta), 3)
    likelihood.check(np.asarray(x))


@each_density
def test_mean_and_samples_have_the_moments_of_the_density(row):
    """mean(theta) = E[x] exactly; draws agree in mean and variance within 4 standard errors."""
    likelihood, theta = row.make(), row.theta(3)
    known = row.reference(theta)
    mean = row.step * known.mean()
    wanted = mean if row.mean is None else row.mean(theta)
    np.testing.assert_allclose(likelihood.mean(theta), wanted, rtol=1e-5)
    x = np.asarray(draws(lambda rng: likelihood.sample(rng, theta), 4000))
    likelihood.check(x)
    assert_mean(x, mean)
    assert_mean((x - mean) ** 2, row.step**2 * known.var())


@each
def test_shapes_and_randomness(row):
    """mean and sample are [D]; a draw is a function of the key, and of no other state."""
    likelihood, theta = row.make(), row.theta(10)
    one, same, other = (likelihood.sample(jax.random.key(k), theta) for k in (0, 0, 1))
    assert likelihood.mean(theta).shape == one.shape == (10,)
    assert likelihood.log_prob(theta, one).shape == ()
    assert theta.shape == (10 * likelihood.num_params + len(likelihood.shared(10)),)
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
    assert (again.num_params, again.shared(3)) == (likelihood.num_params, likelihood.shared(3))
    np.testing.assert_array_equal(again.log_prob(theta, x), likelihood.log_prob(theta, x))


@each
def test_data_outside_the_support_is_refused(row):
    """check passes data of the support and raises ValueError or TypeError for any other."""
    check = row.make().check
    check(row.good)
    for bad in row.bad:
        with pytest.raises((ValueError, TypeError), match="got"):
            check(bad)
