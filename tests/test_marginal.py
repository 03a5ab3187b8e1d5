"""Importance-sampled log p(x), against evidence that is known, and the test bed itself."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import init, tiny_vae
from scipy import stats

import vae_jax
from vae_jax import marginal


@pytest.fixture(scope="module")
def bed():
    """A linear VAE with its exact posterior, and x [6, 4] drawn from it."""
    bed = vae_jax.linear_gaussian(jax.random.key(0))
    return bed, bed.sample(jax.random.key(1), 6)


def with_wrong_posterior(bed):
    """The same model; means off by 0.1, variances 1.5 times too wide."""
    out = bed.params["encoder"]["layers"]["out"]
    moved = {"kernel": out["kernel"], "bias": out["bias"] + jnp.array([0.1, 0.1, 0.4, 0.4])}
    return bed.params | {"encoder": {"layers": {"out": moved}}}


def test_the_bed_knows_its_evidence(bed):
    """log_evidence = scipy's log N(x; b, W W^T + std^2 I), and draws have that covariance."""
    bed, x = bed
    corners = np.float32([[0, 0], [1, 0], [0, 1]])
    bias, *columns = np.asarray(vae_jax.decode_mean(bed.vae, bed.params, corners))
    weights = np.stack(columns, axis=1) - bias[:, None]
    covariance = weights @ weights.T + 0.3**2 * np.eye(4)
    wanted = stats.multivariate_normal(bias, covariance)
    np.testing.assert_allclose(bed.log_evidence(x), wanted.logpdf(x), rtol=1e-4)
    many = np.asarray(bed.sample(jax.random.key(2), 4000))
    np.testing.assert_allclose(many.mean(axis=0), bias, atol=4 * 2 / 4000**0.5)
    np.testing.assert_allclose(np.cov(many.T), covariance, atol=0.3)
    with pytest.raises(ValueError, match="must not be above"):
        vae_jax.linear_gaussian(jax.random.key(0), 2, 3)


def test_the_exact_posterior_gives_the_evidence_without_error(bed):
    """Each weight is p(x): exact to 1e-4 nats, no variance, all samples effective."""
    bed, x = bed
    found = vae_jax.log_marginal(bed.vae, bed.params, jax.random.key(0), x, 100)
    np.testing.assert_allclose(found.log_prob, bed.log_evidence(x), atol=1e-4)
    assert np.all(found.standard_error < 1e-4)
    np.testing.assert_allclose(found.ess, 100, rtol=1e-3)


def test_a_wrong_posterior_costs_error_that_is_told(bed):
    """Within 4 of its own standard errors of the evidence; errors fall with the samples."""
    bed, x = bed
    params = with_wrong_posterior(bed)
    few, many = (
        vae_jax.log_marginal(bed.vae, params, jax.random.key(3), x, k) for k in (300, 10_000)
    )
    for found in (few, many):
        error = np.abs(found.log_prob - np.asarray(bed.log_evidence(x)))
        assert np.all(error <= 4 * found.standard_error + 1e-4)
        assert np.all(found.standard_error > 0)
    ratio = few.standard_error.mean() / many.standard_error.mean()
    np.testing.assert_allclose(ratio, (10_000 / 300) ** 0.5, rtol=0.3)


def test_the_standard_error_is_the_spread_of_repeats(bed):
    """Over 300 repeats the estimate scatters as its standard error says, to a tenth."""
    bed, x = bed
    params = with_wrong_posterior(bed)
    found = vae_jax.log_marginal(
        bed.vae, params, jax.random.key(4), np.repeat(np.asarray(x[:1]), 300, axis=0), 200
    )
    np.testing.assert_allclose(found.log_prob.std(), found.standard_error.mean(), rtol=0.15)
    np.testing.assert_allclose(found.ess.std() / found.ess.mean(), 0.0, atol=0.2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prior": vae_jax.mixture_of_normals(2, 3)},
        {"prior": vae_jax.vamp_prior(2, 3)},
        {"posterior": vae_jax.coupling_flow(2, (3,))},
    ],
    ids=["plain", "mixture", "vamp", "flow"],
)
def test_it_agrees_with_quadrature(options):
    """A nonlinear decoder, 2-D latents: within 4 standard errors of the integral over a grid."""
    vae = tiny_vae(vae_jax.normal(std=0.5), **options)
    params = init(vae, 5)
    x = np.float32([[0.6, -0.4, 0.1], [0.0, 1.0, -1.0]])
    exact = np.asarray(vae_jax.quadrature(vae, params, x, num_points=201))
    found = vae_jax.log_marginal(vae, params, jax.random.key(0), x, 10_000)
    assert np.all(np.abs(found.log_prob - exact) <= 4 * found.standard_error + 1e-3)


def test_quadrature_of_the_linear_bed_is_its_evidence():
    """One and two latent dimensions; more are refused."""
    for latent_dim in (1, 2):
        bed = vae_jax.linear_gaussian(jax.random.key(0), 3, latent_dim)
        x = bed.sample(jax.random.key(1), 3)
        found = vae_jax.quadrature(bed.vae, bed.params, x)
        np.testing.assert_allclose(found, bed.log_evidence(x), atol=1e-3)
    bed = vae_jax.linear_gaussian(jax.random.key(0), 4, 3)
    with pytest.raises(ValueError, match="one or two"):
        vae_jax.quadrature(bed.vae, bed.params, np.zeros((1, 4)))


def test_chunks_and_blocks_change_nothing_but_the_last_digits(bed, monkeypatch):
    """Rows in several blocks, a last one filled up, samples cut off inside a chunk."""
    bed, x = bed
    params = with_wrong_posterior(bed)
    rng = jax.random.key(0)
    whole = vae_jax.log_marginal(bed.vae, params, rng, x, 50)
    some = vae_jax.log_marginal(bed.vae, params, rng, x[:3], 50)
    np.testing.assert_allclose(some.log_prob, whole.log_prob[:3], rtol=1e-5)
    monkeypatch.setattr(marginal, "ROWS", 4)
    blocks = vae_jax.log_marginal(bed.vae, params, rng, x, 50)
    np.testing.assert_allclose(blocks.log_prob, whole.log_prob, rtol=1e-5)
    np.testing.assert_allclose(blocks.ess, whole.ess, rtol=1e-4)
    monkeypatch.setattr(marginal, "DRAWS", 4 * 16)
    marginal._block.clear_cache()
    cut = vae_jax.log_marginal(bed.vae, params, rng, x, 50)
    assert np.all(cut.ess <= 50 * (1 + 1e-5))
    error = np.hypot(cut.standard_error, whole.standard_error)
    assert np.all(np.abs(cut.log_prob - whole.log_prob) < 4.5 * error)
    marginal._block.clear_cache()


def test_memory_does_not_grow_with_the_samples(bed):
    """The compiled program's temporaries are the same for 10^4 and 10^6 samples."""
    bed, x = bed
    sizes = [
        marginal._block.lower(bed.vae, k, bed.params, jax.random.key(0), x, jnp.arange(6))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for k in (10_000, 1_000_000)
    ]
    assert sizes[0] == sizes[1] > 0


def test_degenerate_weights_warn(bed):
    """A posterior in the wrong place: one sample carries the weight, and one is told how many."""
    bed, x = bed
    out = bed.params["encoder"]["layers"]["out"]
    away = {"kernel": out["kernel"], "bias": out["bias"] + jnp.array([3.0, 3.0, 0.0, 0.0])}
    shifted = bed.params | {"encoder": {"layers": {"out": away}}}
    with pytest.warns(UserWarning, match=r"In \d of 6 examples .* fewer than two of 40 samples"):
        vae_jax.log_marginal(bed.vae, shifted, jax.random.key(0), x, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae_jax.log_marginal(bed.vae, bed.params, jax.random.key(0), x, 40)


@pytest.mark.parametrize("num_samples", [0, 1, 2.5, "many"])
def test_too_few_samples_are_refused(bed, num_samples):
    """Two at least: one has no error."""
    bed, x = bed
    with pytest.raises((ValueError, TypeError), match="num_samples"):
        vae_jax.log_marginal(bed.vae, bed.params, jax.random.key(0), x, num_samples)
