"""What single families of likelihoods promise beyond the contract of test_likelihoods.py."""

from functools import partial

import jax
import numpy as np
import pytest
from helpers import assert_mean, draws, run_fit, tiny_vae
from scipy import special, stats

import vae_jax


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
    np.testing.assert_allclose(vae_jax.normal(initial_std=0.5).shared(3), [2 * np.log(0.5)])
    np.testing.assert_allclose(vae_jax.normal().shared(3), [2 * np.log(0.1)])
    assert vae_jax.normal(std=0.5).shared(3) == ()


NOT_SCALES = [0, -1.0, float("nan"), float("inf"), "1", True]


@pytest.mark.parametrize("value", NOT_SCALES)
def test_a_scale_must_be_a_positive_number(value):
    """std, scale, df and their initial values are finite numbers above 0."""
    with pytest.raises((ValueError, TypeError), match="initial_std"):
        vae_jax.normal(initial_std=value)
    with pytest.raises((ValueError, TypeError), match="std"):
        vae_jax.normal(std=value)
    with pytest.raises((ValueError, TypeError), match="df"):
        vae_jax.student_t(value)
    for family in (vae_jax.laplace, vae_jax.discretized_logistic, partial(vae_jax.student_t, 3)):
        with pytest.raises((ValueError, TypeError), match="initial_scale"):
            family(initial_scale=value)
        with pytest.raises((ValueError, TypeError), match="scale"):
            family(scale=value)


def test_who_learns_the_scale_must_be_known_and_one():
    """learned is one of three words, and nothing is learned where the scale is given."""
    with pytest.raises(ValueError, match="'shared', 'per_dim', 'decoder', got 'all'"):
        vae_jax.normal(learned="all")
    with pytest.raises(ValueError, match=r"std is given as 0.5"):
        vae_jax.normal(0.5, learned="decoder")


@pytest.mark.parametrize(("family", "least"), [("beta_binomial", 1), ("categorical", 2)])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True])
def test_a_number_of_levels_or_classes_must_be_a_count(family, least, value):
    """total is at least 1, num_classes at least 2."""
    with pytest.raises((ValueError, TypeError), match=f"at least {least}|whole number"):
        getattr(vae_jax, family)(value)


@pytest.mark.parametrize(
    ("family", "data", "message"),
    [
        (vae_jax.beta_binomial(15), np.float32([[0.5]]), "levels 0, 1/15, ..., 1, got 0.5"),
        (vae_jax.discretized_logistic(), np.uint8([[0, 200]]), "from 0 to 200; divide"),
        (vae_jax.categorical(4), np.int32([[1, 4]]), "from 0 to 3, got values from 1 to 4"),
        (vae_jax.categorical(4), np.float32([[1, 2.5]]), "from 0 to 3, got 2.5"),
        (vae_jax.poisson(), np.float32([[1, -2]]), "0, 1, 2, ..., got values from -2 to 1"),
        (vae_jax.continuous_bernoulli(), np.float32([[2]]), "continuous_bernoulli.*scale"),
    ],
)
def test_the_refusal_says_what_was_got_and_what_to_do(family, data, message):
    """ValueError with the values; all 256 levels and all codes pass."""
    with pytest.raises(ValueError, match=message):
        family.check(data)
    vae_jax.beta_binomial(15).check(np.arange(16, dtype=np.float32)[None] / 15)
    vae_jax.discretized_logistic().check(np.arange(256, dtype=np.uint8)[None] / np.float32(255))
    vae_jax.categorical(4).check(np.uint8([[0, 3]]))


def test_whole_numbers_train_as_they_are(tiny):
    """Codes and counts of an integer type go through fit without conversion."""
    data = np.arange(60, dtype=np.int32).reshape(20, 3) % 4
    for likelihood in (vae_jax.categorical(4), vae_jax.negative_binomial()):
        vae = tiny_vae(likelihood)
        result = run_fit(tiny, 2, vae=vae, loss_fn=vae_jax.make_elbo(vae), data=data)
        assert np.isfinite(result.metrics["loss"]).all()


LARGE = {
    "poisson": (vae_jax.poisson(), [np.log(1e6)], 1_000_500, 1, stats.poisson(1e6)),
    "negative_binomial": (
        vae_jax.negative_binomial(), [np.log(1e6), np.log(10)], 400_000, 1,
        stats.nbinom(10, 10 / (1e6 + 10)),
    ),
    "nearly Poisson": (
        vae_jax.negative_binomial(), [np.log(1e6), np.log(1e7)], 1_000_500, 1,
        stats.nbinom(1e7, 1 / 1.1),
    ),
    "almost Poisson": (
        vae_jax.negative_binomial(), [np.log(50), 40.0], 61, 1, stats.poisson(50)
    ),
    "beta_binomial": (
        vae_jax.beta_binomial(), [np.log(3e5), np.log(2e5)], 140, 1 / 255,
        stats.betabinom(255, 3e5, 2e5),
    ),
    "almost binomial": (
        vae_jax.beta_binomial(), [40.0, 40.5], 140, 1 / 255,
        stats.binom(255, special.expit(-0.5)),
    ),
    "almost normal": (
        vae_jax.student_t(1e9, scale=2.0), [0.0], 5.0, 1, stats.norm(0, 2)
    ),
    "far tail": (
        vae_jax.student_t(3, scale=1e-25), [0.0], 2.0, 1, stats.t(3, 0, 1e-25)
    ),
}  # fmt: skip
"""likelihood, theta, a value, x in units of it, the reference in float64."""


@pytest.mark.parametrize("case", LARGE.values(), ids=LARGE)
def test_large_numbers_keep_their_digits(case):
    """Where log-gammas of the size of the parameters would cancel, float32 has 4 digits still."""
    likelihood, theta, value, step, known = case
    found = likelihood.log_prob(np.float32(theta), np.float32([value * step]))
    wanted = known.logpmf(value) if hasattr(known, "pmf") else known.logpdf(value)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("level", [1, 77, 254])
@pytest.mark.parametrize("location", [-20.0, 0.301, 1.0, 30.0])
def test_a_level_far_from_the_logistic_keeps_its_tiny_mass(level, location):
    """log(sf(a) - sf(b)) from the logarithms of both, in float64, down to masses of exp(-30000)."""
    for scale in (1e-3, 0.05, 3.0):
        a, b = ((level + side - 255 * location) / 255 / scale for side in (-0.5, 0.5))
        sf, cdf = stats.logistic.logsf([a, b]), stats.logistic.logcdf([b, a])
        wanted = max(special.logsumexp(ends, b=[1, -1]) for ends in (sf, cdf))
        likelihood = vae_jax.discretized_logistic(scale)
        found = likelihood.log_prob(np.float32([location]), np.float32([level / 255]))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_continuous_bernoulli_is_smooth_through_the_uniform_density():
    """Value, slope and mean in float32 are the closed forms' in float64, from logit 0 to +-30."""
    likelihood, x = vae_jax.continuous_bernoulli(), np.float32([0.7])
    for logit in (1e-3, 0.1, 0.499, 0.501, 3.0, 30.0, -1e-3, -0.499, -0.501, -30.0):
        mean = -1 / np.expm1(-logit) - 1 / logit
        theta = np.float32([logit])
        value, slope = jax.value_and_grad(likelihood.log_prob)(theta, x)
        np.testing.assert_allclose(
            value, 0.7 * logit - np.log(np.expm1(logit) / logit), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(slope, [0.7 - mean], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(likelihood.mean(theta), [mean], rtol=1e-5)
    zero = np.float32([0.0])
    value, slope = jax.value_and_grad(likelihood.log_prob)(zero, x)
    np.testing.assert_allclose([value, slope[0]], [0.0, 0.2], atol=1e-7)
    np.testing.assert_array_equal(likelihood.mean(zero), [0.5])
    middle = draws(lambda rng: likelihood.sample(rng, zero), 2000)
    assert_mean(middle, 0.5)
    assert_mean((middle - 0.5) ** 2, 1 / 12)
