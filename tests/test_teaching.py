"""The loss of the courses, and the bound in nats that it stands for."""

import chex
import jax
import numpy as np
import pytest
from helpers import init, tiny_vae

import vae_jax

X = np.random.default_rng(0).normal(size=(6, 3))
NUM_DIMS, LATENT_DIM = 3, 2


@pytest.mark.parametrize("beta", [0.01, 3.0])
def test_the_teaching_form_is_a_gaussian_decoder_in_nats(beta):
    """teaching = (2 s^2 / D) (elbo loss - D/2 log(2 pi s^2)), s^2 = beta D / 2Z; gradients too."""
    with jax.enable_x64(True):
        std = vae_jax.teaching_std(beta, NUM_DIMS, LATENT_DIM)
        course, nats = tiny_vae(vae_jax.squared_error()), tiny_vae(vae_jax.normal(std=std))
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), init(course))

        def value(loss_fn, beta):
            gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
            (loss, _), grads = gradient(params, jax.random.key(2), X, beta)
            return loss, grads

        loss, grads = jax.device_get(value(vae_jax.make_teaching(course), beta))
        bound, bound_grads = jax.device_get(value(vae_jax.make_elbo(nats), 1.0))
    scale = 2 * std**2 / NUM_DIMS
    constant = NUM_DIMS / 2 * np.log(2 * np.pi * std**2)
    np.testing.assert_allclose(loss, scale * (bound - constant), rtol=1e-12)
    scaled = jax.tree.map(lambda leaf: scale * leaf, bound_grads)
    chex.assert_trees_all_close(grads, scaled, rtol=1e-9, atol=1e-14)


def test_the_loss_is_the_one_that_courses_write():
    """loss = mean_BD (xhat - x)^2 + beta mean_BZ KL, computed by hand from the networks."""
    vae = tiny_vae(vae_jax.squared_error())
    params, rng, x = init(vae), jax.random.key(2), X.astype(np.float32)
    loss, metrics = jax.jit(vae_jax.make_teaching(vae))(params, rng, x, 0.3)
    mean, logvar = jax.jit(lambda x: vae_jax.posterior(vae, params, x))(x)
    z = jax.jit(jax.vmap(vae_jax.reparameterize))(jax.random.split(rng, len(x)), mean, logvar)
    xhat = np.asarray(jax.jit(lambda z: vae_jax.decode_mean(vae, params, z))(z))
    mean, logvar = np.asarray(mean), np.asarray(logvar)
    error = np.mean((xhat - x) ** 2)
    kl = np.mean(0.5 * (mean**2 + np.exp(logvar) - 1 - logvar))
    np.testing.assert_allclose(metrics["recon"], error, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(loss, error + 0.3 * kl, rtol=1e-5)


def test_the_noise_of_the_swiss_roll_notebook():
    """beta = 0.01 with D = Z = 2 means sigma = 0.0707."""
    np.testing.assert_allclose(vae_jax.teaching_std(0.01, 2, 2), 0.1 / 2**0.5, rtol=1e-12)
    np.testing.assert_allclose(vae_jax.teaching_std(0.5, 8, 2), 1.0, rtol=1e-12)


@pytest.mark.parametrize("arguments", [(0.0, 2, 2), (-1.0, 2, 2), (0.1, 0, 2), (0.1, 2, 1.5)])
def test_the_noise_needs_a_positive_beta_and_whole_dimensions(arguments):
    """beta > 0; dimensions are whole numbers of at least 1."""
    with pytest.raises((ValueError, TypeError), match=r"beta|num_dims|latent_dim"):
        vae_jax.teaching_std(*arguments)
