"""Priors fitted after the training: densities, and the gap that they close."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean
from scipy import integrate, stats

import vae_jax
from vae_jax.couplings import couple, init_couplings
from vae_jax.expost import aggregate_codes, fit_flow, fit_mixture

AXIS = np.linspace(-7.0, 7.0, 151)
PLANE = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).astype(np.float32)
CENTRES, SPREAD = np.array([[-2.0, 0.0], [2.0, 1.0]]), 0.4


def two_clusters(num: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return CENTRES[rng.integers(0, 2, num)] + SPREAD * rng.normal(size=(num, 2))


def log_density(z: Any) -> Any:
    """Of the two clusters."""
    parts = [stats.multivariate_normal(centre, SPREAD**2).pdf(z) for centre in CENTRES]
    return np.log(np.mean(parts, axis=0))


@cache
def fitted(name: str) -> Any:
    codes = two_clusters(2000).astype(np.float32)
    if name == "mixture":
        return fit_mixture(codes, 2)
    return fit_flow(jax.random.key(0), codes, num_layers=4, hidden=(16,), num_steps=500)


def log_probs(prior: Any, params: Any, z: Any) -> Any:
    theta = prior.theta(params, None)
    one = jax.jit(jax.vmap(lambda z: prior.log_prob(theta, z)))
    return np.asarray(one(jnp.asarray(z, jnp.float32)), np.float64)


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_the_fitted_density_is_a_density_near_the_clusters(name: str) -> None:
    """It integrates to 1 over the plane and KL(clusters || fit) is small beside N(0, I)'s."""
    prior, params = fitted(name)
    density = np.exp(log_probs(prior, params, PLANE.reshape(-1, 2))).reshape(151, 151)
    total = integrate.simpson(integrate.simpson(density, x=AXIS), x=AXIS)
    np.testing.assert_allclose(total, 1.0, atol=2e-3)
    z = two_clusters(3000, seed=1)
    gap = np.mean(log_density(z) - log_probs(prior, params, z))
    standard = np.mean(log_density(z) - stats.norm.logpdf(z).sum(axis=1))
    assert standard > 1.5
    assert -0.05 < gap < (0.02 if name == "mixture" else 0.4)


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_draws_are_of_the_fitted_density(name: str) -> None:
    """E[z], E[z^2] and the mean log-density of draws are those by quadrature."""
    prior, params = fitted(name)
    theta = prior.theta(params, None)
    rngs = jax.random.split(jax.random.key(1), 4000)
    z = np.asarray(jax.jit(jax.vmap(lambda rng: prior.sample(theta, rng)))(rngs), np.float64)
    logs = log_probs(prior, params, PLANE.reshape(-1, 2)).reshape(151, 151)

    def mean(values: Any) -> Any:
        return integrate.simpson(integrate.simpson(np.exp(logs) * values, x=AXIS), x=AXIS)

    assert_mean(z, [mean(PLANE[..., 0]), mean(PLANE[..., 1])])
    assert_mean(z**2, [mean(PLANE[..., 0] ** 2), mean(PLANE[..., 1] ** 2)])
    assert_mean(log_probs(prior, params, z), mean(logs))


def test_the_map_and_its_inverse() -> None:
    """couple and its inverse undo each other; the log-det is that of the Jacobian."""
    params = init_couplings(jax.random.key(0), 3, 0, 3, (5,))
    leaves, tree = jax.tree.flatten(params)
    moved = [leaf + 0.3 * np.sin(np.arange(leaf.size)).reshape(leaf.shape) for leaf in leaves]
    params, z = jax.tree.unflatten(tree, moved), jnp.array([0.3, -1.2, 0.8])
    forward = jax.jit(lambda z: couple(params, 3, z, jnp.zeros(0)))
    out, log_det = forward(z)
    back, inverse_log_det = jax.jit(lambda z: couple(params, 3, z, jnp.zeros(0), inverse=True))(out)
    np.testing.assert_allclose(back, z, atol=1e-5)
    np.testing.assert_allclose(log_det, -inverse_log_det, rtol=1e-5)
    jacobian = jax.jit(jax.jacobian(lambda z: forward(z)[0]))(z)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-4)
    assert abs(log_det) > 0.05


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_the_untrained_flow_is_the_standard_prior(latent_dim: int) -> None:
    prior = vae_jax.flow_prior(latent_dim, 3, (4,))
    params = prior.init(jax.random.key(0), ())
    z = np.random.default_rng(0).normal(size=(5, latent_dim)).astype(np.float32)
    np.testing.assert_allclose(
        log_probs(prior, params, z), stats.norm.logpdf(z).sum(axis=1), rtol=1e-5
    )


def test_a_known_gap_is_closed() -> None:
    """A linear VAE on two clusters: its aggregate posterior is far from N(0, I), and log p(x)
    rises by what KL(q(z) || p(z)) falls, with the same encoder and decoder."""
    problem = vae_jax.linear_gaussian(jax.random.key(3), 4, 2)
    weights = problem.params["decoder"]["layers"]["out"]
    decoded = two_clusters(1000).astype(np.float32) @ weights["kernel"] + weights["bias"]
    x = np.asarray(decoded + 0.3 * np.random.default_rng(1).normal(size=(1000, 4)), np.float32)
    draw = jax.jit(partial(aggregate_codes, problem.vae, problem.params))
    codes = draw(jax.random.key(0), x[:800])
    assert codes.shape == (800, 2)
    prior, params = fit_mixture(codes, 2)
    better = problem.vae._replace(prior=prior)
    test = x[900:]
    before = np.asarray(problem.log_evidence(test))
    after = vae_jax.log_marginal(
        better, problem.params | {"prior": params}, jax.random.key(1), test, 300
    ).log_prob
    z = np.asarray(draw(jax.random.key(2), test))
    closed = log_probs(prior, params, z) - stats.norm.logpdf(z).sum(axis=1)
    gain = after - before
    assert closed.mean() > 1.0
    assert abs(gain.mean() - closed.mean()) < 0.15 * closed.mean()


def test_codes_behind_a_flow_are_its_images() -> None:
    """aggregate_codes of a moved posterior flow differ from the Gaussian's draws."""
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, (4,)), vae_jax.MLPDecoder(3, (4,)), likelihood=vae_jax.normal(),
        prior=vae_jax.standard_normal(2), data_shape=(3,),
        posterior=vae_jax.coupling_flow(2, (4,)),
    )  # fmt: skip
    params, x = vae.init(jax.random.key(0)), np.ones((5, 3), np.float32)
    draw = jax.jit(partial(aggregate_codes, vae))
    plain = draw(params, jax.random.key(1), x)
    moved = jax.tree.map(lambda leaf: leaf + 0.5, params["posterior"])
    shifted = draw(params | {"posterior": moved}, jax.random.key(1), x)
    assert np.abs(plain - shifted).min() > 1e-3


@pytest.mark.parametrize(
    ("codes", "error", "words"),
    [
        (np.zeros(3), ValueError, "must be"),
        (np.zeros((3, 2), int), TypeError, "real numbers"),
        (np.full((30, 2), np.nan), ValueError, "NaN"),
        (np.zeros((0, 2)), ValueError, "must be"),
    ],
)
def test_codes_that_are_none(codes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fit_mixture(codes, 2)
    with pytest.raises(error, match=words):
        fit_flow(jax.random.key(0), codes)


def test_too_few_codes_for_the_components() -> None:
    with pytest.raises(ValueError, match="5 components need as many codes, got 3"):
        fit_mixture(np.zeros((3, 2)), 5)
    with pytest.raises(ValueError, match="at least 10 codes"):
        fit_flow(jax.random.key(0), np.zeros((9, 2)))


def test_many_rows_go_through_in_blocks() -> None:
    """posterior, codes and decode_mean of more rows than fit together are those of each row."""
    problem = vae_jax.linear_gaussian(jax.random.key(3), 4, 2)
    x = np.random.default_rng(0).normal(size=(1500, 4)).astype(np.float32)
    mean, logvar = vae_jax.posterior(problem.vae, problem.params, x)
    few, _ = vae_jax.posterior(problem.vae, problem.params, x[1200:1300])
    assert mean.shape == logvar.shape == (1500, 2)
    np.testing.assert_allclose(mean[1200:1300], few, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae_jax.codes(problem.vae, problem.params, x), mean, rtol=1e-5)
    decoded = vae_jax.decode_mean(problem.vae, problem.params, mean)
    np.testing.assert_allclose(
        decoded[1200:1300], vae_jax.decode_mean(problem.vae, problem.params, few), rtol=1e-4,
        atol=1e-5,
    )  # fmt: skip
