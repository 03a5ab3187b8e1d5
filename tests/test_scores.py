"""Scores of a latent space, and walks through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import init, tiny_vae
from scipy import stats

import vae_jax

X = np.asarray(jax.random.normal(jax.random.key(1), (40, 3)))
NONE = {"encoder": {}}
"""Parameters of an encoder that has none."""


def coded(mean, logvar, **options):
    """A VAE on x [2] whose encoder is given: x -> (mean(x), logvar)."""
    encoder = vae_jax.Network(
        lambda rng, x: {}, lambda params, x: (mean(x), jnp.full(2, logvar, jnp.float32))
    )
    return tiny_vae(encoder=encoder, data_shape=(2,), decoder=vae_jax.MLPDecoder(2, ()), **options)


def test_bits_per_dim():
    """-log p / (D log 2): uniform over 256 levels is 8 bits, whatever D."""
    np.testing.assert_allclose(vae_jax.bits_per_dim(-6 * np.log(256.0), (2, 3)), 8.0)
    found = vae_jax.bits_per_dim(np.array([0.0, -np.log(2)]), (1,))
    np.testing.assert_allclose(found, [0.0, 1.0])


def test_active_units_are_those_whose_mean_moves():
    """Var_x(E[z_j | x]) > threshold, per dimension."""
    vae = coded(lambda x: x * jnp.array([1.0, 0.05]), -1.0)
    x = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    np.testing.assert_array_equal(vae_jax.active_units(vae, NONE, x), [True, False])
    np.testing.assert_array_equal(vae_jax.active_units(vae, NONE, x, 1e-3), [True, True])


def test_mutual_information_of_separate_codes_is_log_n_and_of_equal_ones_0():
    """Posteriors that do not overlap tell N rows apart: log N; equal ones nothing."""
    x = np.stack([np.arange(32.0), np.zeros(32)], axis=1).astype(np.float32)
    vae = coded(lambda x: 100 * x, 0.0)
    found, _ = vae_jax.mutual_information(vae, NONE, jax.random.key(0), x)
    np.testing.assert_allclose(found, np.log(32), rtol=1e-5)
    vae = coded(jnp.zeros_like, 0.0)
    found, error = vae_jax.mutual_information(vae, NONE, jax.random.key(0), x)
    np.testing.assert_allclose([found, error], 0.0, atol=1e-5)


def test_mutual_information_of_a_gaussian_channel():
    """x ~ N(0, I), z = x + noise of variance v: I = sum_j log(1 + 1/v) / 2, within 4 errors."""
    x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    vae = coded(lambda x: x, np.log(0.5))
    found, error = vae_jax.mutual_information(vae, NONE, jax.random.key(0), x)
    assert 0 < error < 0.05
    assert abs(found - np.log(1 + 1 / 0.5)) < 4 * error + 0.03
    flow = coded(lambda x: x, 0.0, posterior=vae_jax.coupling_flow())
    with pytest.raises(ValueError, match="flow"):
        vae_jax.mutual_information(flow, NONE, jax.random.key(0), x)


def test_mig_of_an_identity_code_is_near_1_and_of_a_duplicated_one_near_0():
    """Independent factors as codes: [0.9, 1]. Each factor in two codes: [0, 0.1]."""
    factors = np.random.default_rng(0).integers(0, 5, size=(5000, 2))
    noise = np.random.default_rng(1).normal(size=(5000, 4)) * 0.01
    assert 0.9 <= vae_jax.mutual_information_gap(factors + noise[:, :2], factors) <= 1
    assert 0 <= vae_jax.mutual_information_gap(np.tile(factors, 2) + noise, factors) <= 0.1
    with pytest.raises(ValueError, match="factors"):
        vae_jax.mutual_information_gap(factors[:, :1], factors)
    with pytest.raises(ValueError, match="num_bins"):
        vae_jax.mutual_information_gap(factors, factors, 1)


def test_rates_of_priors_without_a_closed_form_bound_the_information():
    """Where the prior does not factorise, kl_per_dim is the KL to the Gaussian with z_j's moments:
    for x ~ N(0, I) through a channel of variance v, log(1 + 1/v) / 2."""
    x = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    vae = coded(lambda x: x, np.log(0.5), prior=vae_jax.mixture_of_normals(2, 3))
    found = vae_jax.kl_per_dim(vae, vae.init(jax.random.key(0)), x)
    np.testing.assert_allclose(found, np.log(1 + 1 / 0.5) / 2, rtol=0.02)


@pytest.mark.parametrize("spherical", [False, True])
def test_interpolations_end_at_the_reconstructions(spherical):
    """[B, T, ...], first and last are reconstruct(first) and reconstruct(second)."""
    vae = tiny_vae()
    params = init(vae, 5)
    found = vae_jax.interpolate(vae, params, X[:5], X[5:10], 7, spherical=spherical)
    assert found.shape == (5, 7, 3)
    ends = vae_jax.reconstruct(vae, params, X[:5]), vae_jax.reconstruct(vae, params, X[5:10])
    np.testing.assert_allclose(found[:, 0], ends[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, -1], ends[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one shape"):
        vae_jax.interpolate(vae, params, X[:5], X[:4])
    with pytest.raises(ValueError, match="num_steps"):
        vae_jax.interpolate(vae, params, X[:5], X[:5], 1)


def test_the_middle_of_an_interpolation():
    """Of codes (1, 0) and (0, 1): (1/2, 1/2) on the line, of length 1 on the arc; of equal codes
    the code itself, not NaN."""
    vae = coded(lambda x: x, 0.0)
    params = init(vae)
    first, second = np.float32([[1, 0], [1, 0]]), np.float32([[0, 1], [1, 0]])
    for spherical, half in ((False, 0.5), (True, 0.5**0.5)):
        found = vae_jax.interpolate(vae, params, first, second, 3, spherical=spherical)[:, 1]
        wanted = vae_jax.decode_mean(vae, params, np.float32([[half, half], [1, 0]]))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_traversal_moves_one_dimension_at_a_time():
    """[Z, T, ...]: row j decodes z with z_j set to each value."""
    vae = tiny_vae()
    params, z = init(vae, 5), np.float32([0.5, -1.0])
    found = vae_jax.traverse(vae, params, z, np.float32([-2.0, 0.0, 2.0]))
    assert found.shape == (2, 3, 3)
    wanted = vae_jax.decode_mean(vae, params, np.float32([[-2.0, -1.0], [0.5, 2.0]]))
    np.testing.assert_allclose([found[0, 0], found[1, 2]], wanted, rtol=1e-5)
    with pytest.raises(ValueError, match=r"z \[2\]"):
        vae_jax.traverse(vae, params, z[:1], [0.0])


def conditional():
    """p(x | c) of a linear decoder: x = W z + 3 c, and an encoder that sees c."""
    return tiny_vae(
        vae_jax.normal(std=0.5), condition_shape=(3,),
        encoder=vae_jax.MLPEncoder(2, (4,)), decoder=vae_jax.MLPDecoder(3, (4,)),
    )  # fmt: skip


def test_a_condition_is_one_more_argument_of_encode_and_decode():
    """Every part takes (x, condition): losses, likelihood, reconstructions, samples."""
    vae = conditional()
    params, c = init(vae), np.eye(3, dtype=np.float32)[np.arange(6) % 3]
    x = X[:6]
    for make in (vae_jax.make_elbo, vae_jax.make_iwae, vae_jax.make_dip):
        loss, _ = make(vae)(params, jax.random.key(0), (x, c), 1.0)
        other, _ = make(vae)(params, jax.random.key(0), (x, c[::-1]), 1.0)
        assert np.isfinite(loss)
        assert loss != other
    mean, _ = vae.encode(params, x[0], c[0])
    np.testing.assert_allclose(vae_jax.posterior(vae, params, (x, c))[0][0], mean, rtol=1e-5)
    assert vae_jax.reconstruct(vae, params, (x, c)).shape == (6, 3)
    assert vae_jax.sample(vae, params, jax.random.key(0), 6, c).shape == (6, 3)
    found = vae_jax.log_marginal(vae, params, jax.random.key(0), (x, c), 2000)
    assert np.isfinite(found.log_prob).all()
    assert vae_jax.kl_per_dim(vae, params, (x, c)).shape == (2,)


def test_conditions_that_do_not_fit_are_refused():
    """No condition, a condition too many, or of the wrong shape; pseudo-inputs have none."""
    vae, plain = conditional(), tiny_vae()
    params, c = init(vae), np.eye(3, dtype=np.float32)[:2]
    with pytest.raises(ValueError, match=r"pair \(x, condition\)"):
        vae_jax.make_elbo(vae)(params, jax.random.key(0), X[:2], 1.0)
    with pytest.raises(ValueError, match="condition has shape"):
        vae_jax.reconstruct(vae, params, (X[:2], c[:, :2]))
    with pytest.raises(ValueError, match=r"needs a condition \[2, 3\]"):
        vae_jax.sample(vae, params, jax.random.key(0), 2)
    with pytest.raises(ValueError, match="no condition"):
        vae_jax.sample(plain, init(plain), jax.random.key(0), 2, c)
    with pytest.raises(ValueError, match="conditional"):
        vae_jax.interpolate(vae, params, (X[:2], c), (X[:2], c))
    with pytest.raises(ValueError, match="pseudo-inputs"):
        tiny_vae(condition_shape=(3,), prior=vae_jax.vamp_prior(2, 3))
    with pytest.raises((TypeError, ValueError), match="condition of shape"):
        tiny_vae(condition_shape=(3,), encoder=vae_jax.Network(
            lambda rng, x: {}, lambda params, x: (x[:2], x[:2])))  # fmt: skip


def test_log_prob_of_the_information_is_scipys():
    """The aggregate posterior in mutual_information is 1/N sum_j q(z | x_j)."""
    x = np.float32([[0.0, 0.0], [1.0, 0.5]])
    vae = coded(lambda x: x, 0.0)
    found, _ = vae_jax.mutual_information(vae, NONE, jax.random.key(0), x)
    rngs = jax.random.split(jax.random.key(0), 2)
    z = [vae_jax.reparameterize(rng, row, jnp.zeros(2)) for rng, row in zip(rngs, x, strict=True)]
    logs = np.array([[stats.norm(m).logpdf(one).sum() for m in x] for one in np.asarray(z)])
    wanted = np.mean(np.diag(logs) - np.log(np.exp(logs).mean(axis=1)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
