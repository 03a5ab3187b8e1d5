"""Every prior is a distribution, with the KL and the draws that belong to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean, draws, tiny_vae
from scipy import integrate, stats
from tables import PRIORS

import vae_jax
from vae_jax.draws import log_prior, prior_theta

CONTINUOUS = {name: make for name, make in PRIORS.items() if make(1).log_prob is not None}
CLOSED = {name: make for name, make in PRIORS.items() if make(1).kl_per_dim is not None}
GRID = np.linspace(-15.0, 15.0, 6001)


def over(table):
    return pytest.mark.parametrize("make", table.values(), ids=table)


def theta_of(prior, seed=0):
    """theta of the prior as it starts, behind an encoder that bends pseudo-inputs [2]."""

    def encode(x):
        scale = jnp.arange(1.0, prior.latent_dim + 1)
        return jnp.sin(4 * x[0] * scale), jnp.cos(3 * x[1] * scale)

    params = None if prior.init is None else prior.init(jax.random.key(seed), (2,))
    return prior.theta(params, encode)


def density(prior):
    """p(z) of a one-dimensional prior on GRID."""
    theta = theta_of(prior)
    return np.exp(np.asarray(jax.jit(jax.vmap(lambda z: prior.log_prob(theta, z)))(GRID[:, None])))


@over(CONTINUOUS)
def test_the_density_is_normalised(make):
    """The integral of p(z) over one dimension is 1."""
    with jax.enable_x64(True):
        total = integrate.simpson(density(make(1)), x=GRID)
    np.testing.assert_allclose(total, 1.0, atol=1e-8)


@over(CONTINUOUS)
def test_samples_have_the_moments_of_the_density(make):
    """E[z] and E[z^2] of draws equal those of p(z) by quadrature within 4 standard errors."""
    prior = make(1)
    p, theta = density(prior), theta_of(prior)
    z = np.asarray(draws(lambda rng: prior.sample(theta, rng), 4000))
    assert z.shape == (4000, 1)
    assert_mean(z[:, 0], integrate.simpson(p * GRID, x=GRID))
    assert_mean(z[:, 0] ** 2, integrate.simpson(p * GRID**2, x=GRID))


@over(CLOSED)
def test_the_closed_form_kl_is_the_expectation_that_it_stands_for(make):
    """sum_Z kl_per_dim = E_q[log q(z) - log p(z)] within 4 standard errors."""
    prior = make(3)
    theta = theta_of(prior)
    mean, logvar = np.float32([0.0, 1.5, -0.5]), np.float32([-3.0, 0.5, 1.0])
    kl = np.asarray(prior.kl_per_dim(theta, mean, logvar))
    assert kl.shape == (3,)
    z = stats.norm(mean, np.exp(logvar / 2)).rvs(size=(4000, 3), random_state=0)
    log_q = stats.norm(mean, np.exp(logvar / 2)).logpdf(z).sum(axis=1)
    log_p = jax.jit(jax.vmap(lambda z: prior.log_prob(theta, z)))(z.astype(np.float32))
    assert_mean(log_q - log_p, kl.sum())


@over(PRIORS)
def test_shapes_randomness_and_text(make):
    """sample is [Z] and a function of the key; the text makes the same prior again."""
    prior = make(5)
    theta = theta_of(prior)
    one, same, other = (prior.sample(theta, jax.random.key(k)) for k in (0, 0, 1))
    assert prior.latent_dim == 5
    assert one.shape == (5,)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    again = vae_jax.from_text(prior.text)
    assert (again.text, again.latent_dim) == (vae_jax.to_text(prior), 5)
    np.testing.assert_array_equal(again.sample(theta_of(again), jax.random.key(0)), one)


@over(PRIORS)
@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, "2", True, None])
def test_the_latent_dimension_must_be_a_count(make, latent_dim):
    """latent_dim is a whole number of at least 1."""
    with pytest.raises((ValueError, TypeError), match="latent_dim"):
        make(latent_dim)


def test_standard_normal_is_scipys():
    """log p(z) = sum_Z log N(z; 0, 1)."""
    z = np.linspace(-8, 8, 12).reshape(4, 3)
    prior = vae_jax.standard_normal(3)
    found = jax.jit(jax.vmap(lambda z: prior.log_prob(None, z)))(z)
    np.testing.assert_allclose(found, stats.norm.logpdf(z).sum(axis=1), rtol=1e-6)


def test_a_mixture_of_one_standard_normal_is_the_standard_prior():
    """K = 1, mean 0, logvar 0, whatever its logit: log N(z; 0, I)."""
    z = np.float32([0.3, -2.0])
    theta = (np.float32([7.0]), np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    found = vae_jax.mixture_of_normals(2, 1).log_prob(theta, z)
    np.testing.assert_allclose(found, stats.norm.logpdf(z).sum(), rtol=1e-6)


def test_a_mixture_is_scipys():
    """log sum_k softmax(logits)_k N(z; mean_k, std_k)."""
    rng = np.random.default_rng(0)
    logits, mean, logvar, z = (rng.normal(size=s) for s in ((4,), (4, 3), (4, 3), (3,)))
    parts = stats.norm(mean, np.exp(logvar / 2)).pdf(z).prod(axis=1)
    weights = np.exp(logits) / np.exp(logits).sum()
    found = vae_jax.mixture_of_normals(3, 4).log_prob((logits, mean, logvar), z)
    np.testing.assert_allclose(found, np.log(weights @ parts), rtol=1e-5)


def test_the_vamp_prior_is_the_mean_of_its_pseudo_inputs_posteriors():
    """log p(z) = log 1/K sum_k q(z | u_k), with gradients to pseudo-inputs and encoder."""
    vae = tiny_vae(prior=vae_jax.vamp_prior(2, 3))
    params, z = vae.init(jax.random.key(0)), np.float32([0.4, -0.7])
    assert params["prior"]["inputs"].shape == (3, 3)
    logs = []
    for row in params["prior"]["inputs"]:
        mean, logvar = vae.encode(params, row)
        logs.append(stats.norm(mean, np.exp(logvar / 2)).logpdf(z).sum())
    found, slope = jax.value_and_grad(lambda p: log_prior(vae, p, z))(params)
    np.testing.assert_allclose(found, np.log(np.mean(np.exp(logs))), rtol=1e-5)
    assert np.all(slope["prior"]["inputs"] != 0)
    assert np.any(slope["encoder"]["layers"]["hidden_0"]["kernel"] != 0)


def test_pseudo_inputs_start_at_rows_of_the_data():
    """start_at_rows: distinct rows, another choice for another key; too few rows are refused."""
    vae = tiny_vae(prior=vae_jax.vamp_prior(2, 3))
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    started = vae_jax.start_at_rows(vae, jax.random.key(0), rows)
    inputs = np.asarray(started.init(jax.random.key(1))["prior"]["inputs"])
    chosen = {tuple(row) for row in inputs}
    assert len(chosen) == 3
    assert chosen <= {tuple(row) for row in rows}
    other = vae_jax.start_at_rows(vae, jax.random.key(4), rows).init(jax.random.key(1))
    assert not np.array_equal(inputs, other["prior"]["inputs"])
    with pytest.raises(ValueError, match=r"3 pseudo-inputs.*only 2 rows"):
        vae_jax.start_at_rows(vae, jax.random.key(0), rows[:2])
    with pytest.raises(ValueError, match="standard_normal"):
        vae_jax.start_at_rows(tiny_vae(), jax.random.key(0), rows)


def test_the_codebook_gives_the_nearest_code_of_each_group():
    """quantize picks argmin |z_g - code| group by group, and leaves a code where it is."""
    prior = vae_jax.codebook(4, 3, 2)
    theta = prior.init(jax.random.key(0), (2,))
    z = np.float32([0.1, -0.4, 1.0, 0.3])
    found = np.asarray(prior.quantize(theta, z))
    for group in range(2):
        part = slice(2 * group, 2 * group + 2)
        distances = np.linalg.norm(theta["codes"][group] - z[part], axis=1)
        np.testing.assert_array_equal(found[part], theta["codes"][group][distances.argmin()])
    np.testing.assert_array_equal(prior.quantize(theta, found), found)
    with pytest.raises(ValueError, match="must divide"):
        vae_jax.codebook(3, 4, 2)


def test_a_codebook_has_no_density():
    """The bounds refuse it when traced, and name what trains it."""
    vae = tiny_vae(prior=vae_jax.codebook(2, 4))
    with pytest.raises(ValueError, match="make_vq"):
        vae_jax.log_weight(vae, vae.init(jax.random.key(0)), jax.random.key(0), np.zeros(3))
    assert prior_theta(vae, vae.init(jax.random.key(0)))["codes"].shape == (1, 4, 2)


def test_a_mixtures_gradient_is_that_of_its_value():
    """d log p / d (z, mean, logvar, logits), which goes by matrix products, in float64; the value
    keeps its digits for components of width 1e-4."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        prior = vae_jax.mixture_of_normals(3, 4)
        arguments = tuple(rng.normal(size=s) for s in ((4,), (4, 3), (4, 3), (3,)))
        along = tuple(rng.normal(size=np.shape(each)) for each in arguments)

        def value(distance):
            logits, mean, logvar, z = (
                a + distance * v for a, v in zip(arguments, along, strict=True)
            )
            return prior.log_prob((logits, mean, logvar), z)

        slope = (value(1e-5) - value(-1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(value)(0.0), slope, rtol=1e-6)
    narrow = (
        np.zeros(1, np.float32),
        np.full((1, 2), 3.0, np.float32),
        np.full((1, 2), -18.4, np.float32),
    )
    z = np.float32([3.0001, 2.9999])
    wanted = stats.norm(3.0, np.exp(-9.2)).logpdf(z.astype(float)).sum()
    found = vae_jax.mixture_of_normals(2, 1).log_prob(narrow, z)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
