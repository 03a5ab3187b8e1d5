"""What one asks of a trained VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean, init, tiny_vae

import vae_jax

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    vae = tiny_vae()
    return vae, init(vae)


def test_posterior_encodes_each_example(trained):
    """posterior(x [B, D]) is encode of each row: [B, Z] and [B, Z]."""
    vae, params = trained
    mean, logvar = vae_jax.posterior(vae, params, X)
    assert mean.shape == logvar.shape == (6, 2)
    np.testing.assert_allclose(mean[3], vae.encode(params, X[3])[0], rtol=1e-5)
    np.testing.assert_allclose(logvar[3], vae.encode(params, X[3])[1], rtol=1e-5)


def test_reconstruct_decodes_the_posterior_mean(trained):
    """reconstruct = decode_mean of the posterior's mean: [B, D], and no draw is made."""
    vae, params = trained
    mean, _ = vae_jax.posterior(vae, params, X)
    found = vae_jax.reconstruct(vae, params, X)
    assert found.shape == (6, 3)
    np.testing.assert_allclose(found, vae_jax.decode_mean(vae, params, mean), rtol=1e-6)
    np.testing.assert_allclose(found[2], vae.decode(params, mean[2])[:3], rtol=1e-5)


def test_kl_per_dim_sums_to_the_kl_of_the_loss(trained):
    """sum_Z kl_per_dim = the kl that make_elbo reports."""
    vae, params = trained
    terms = vae_jax.kl_per_dim(vae, params, X)
    assert terms.shape == (2,)
    _, metrics = jax.jit(vae_jax.make_elbo(vae))(params, jax.random.key(0), X, 1.0)
    np.testing.assert_allclose(terms.sum(), metrics["kl"], rtol=1e-5)


def test_a_collapsed_dimension_has_no_kl(trained):
    """Where q(z_j | x) = N(0, 1) for all x, kl_per_dim is 0 in j, and only there."""
    vae, params = trained
    layers = params["encoder"]["layers"]
    kernel = layers["out"]["kernel"].at[:, jnp.array([0, 2])].set(0.0)
    bias = layers["out"]["bias"].at[jnp.array([0, 2])].set(0.0)
    encoder = {"layers": {**layers, "out": {"kernel": kernel, "bias": bias}}}
    terms = np.asarray(vae_jax.kl_per_dim(vae, {**params, "encoder": encoder}, X))
    assert terms[0] == 0
    assert terms[1] > 1e-3


def test_samples_have_the_moments_of_the_model():
    """z ~ p(z), x ~ p(x | z): for a linear decoder x ~ N(b, W W^T + s^2 I), within 4 SE."""
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, ()),
        vae_jax.MLPDecoder(3, ()),
        likelihood=vae_jax.normal(std=0.5),
        prior=vae_jax.standard_normal(2),
        data_shape=(3,),
    )
    weights = np.float32([[1.0, 0.0], [0.5, -1.0], [0.0, 0.3]])
    bias = np.float32([1.0, 0.0, -2.0])
    params = {"decoder": {"layers": {"out": {"kernel": weights.T, "bias": bias}}}}
    draw = jax.jit(lambda rng: vae_jax.sample(vae, params, rng, 4000))
    x = np.asarray(draw(jax.random.key(0)))
    assert x.shape == (4000, 3)
    assert_mean(x, bias)
    products = (x - bias)[:, :, None] * (x - bias)[:, None, :]
    assert_mean(products, weights @ weights.T + 0.25 * np.eye(3))
    np.testing.assert_array_equal(x, draw(jax.random.key(0)))
    assert not np.array_equal(x, draw(jax.random.key(1)))


def test_examples_of_any_rank_keep_their_shape():
    """data_shape (2, 3): networks see one [2, 3] example, results are [B, 2, 3]."""
    wide = vae_jax.MLPEncoder(2, ())
    encoder = vae_jax.Network(
        lambda rng, x: wide.init(rng, x.reshape(-1))["params"],
        lambda params, x: wide.apply({"params": params}, x.reshape(-1)),
    )
    vae = vae_jax.build_vae(
        encoder,
        vae_jax.MLPDecoder(6, ()),
        likelihood=vae_jax.bernoulli(),
        prior=vae_jax.standard_normal(2),
        data_shape=(2, 3),
    )
    x, loss_fn = np.ones((4, 2, 3), np.float32), vae_jax.make_elbo(vae)

    @jax.jit
    def everything(rng):
        params = vae.init(rng)
        loss, _ = loss_fn(params, rng, x, 1.0)
        images = vae_jax.sample(vae, params, rng, 5)
        return vae_jax.reconstruct(vae, params, x), images, loss

    xhat, images, loss = everything(jax.random.key(0))
    assert (xhat.shape, images.shape) == ((4, 2, 3), (5, 2, 3))
    assert set(np.unique(images)) == {0.0, 1.0}
    assert np.isfinite(loss)


@pytest.mark.parametrize("function", [vae_jax.posterior, vae_jax.reconstruct, vae_jax.kl_per_dim])
@pytest.mark.parametrize("shape", [(3,), (4, 2), (0, 3)])
def test_a_batch_of_the_wrong_shape_is_refused(trained, function, shape):
    """x must be [B, *data_shape]."""
    with pytest.raises(ValueError, match=r"needs \[B, 3\]"):
        function(*trained, np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(2,), (4, 3), ()])
def test_latents_of_the_wrong_shape_are_refused(trained, shape):
    """z must be [B, Z]."""
    with pytest.raises(ValueError, match=r"needed is \[B, 2\]"):
        vae_jax.decode_mean(*trained, np.zeros(shape, np.float32))


@pytest.mark.parametrize("num_samples", [0, -1, 1.5])
def test_a_number_of_samples_must_be_a_count(trained, num_samples):
    """num_samples is a whole number of at least 1."""
    with pytest.raises((ValueError, TypeError), match="num_samples"):
        vae_jax.sample(*trained, jax.random.key(0), num_samples)
