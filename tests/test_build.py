"""Parts that do not fit each other are refused when the VAE is built, with what to set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import tiny_vae

import vae_jax


class Normalised(nn.Module):
    """Keeps running averages, so it is no pure function of its parameters."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False)(x[None])[0]
        return nn.Dense(2)(x), nn.Dense(2)(x)


class Branching(nn.Module):
    """Asks for the value of an input, which a compiled function cannot."""

    @nn.compact
    def __call__(self, x):
        return (x[:2], x[:2]) if x.sum() > 0 else (x[1:], x[1:])


def only_mean():
    return vae_jax.Network(lambda rng, x: {}, lambda params, x: x[:2])


def lists():
    return vae_jax.Network(lambda rng, x: {}, lambda params, x: ("mean", "logvar"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decoder": vae_jax.MLPDecoder(4, ())}, ValueError, "set num_out=3"),
        ({"encoder": vae_jax.MLPEncoder(3, ())}, ValueError, "same latent_dim"),
        ({"prior": vae_jax.standard_normal(5)}, ValueError, "same latent_dim"),
        ({"data_shape": (2, 3)}, ValueError, r"flatten the data to shape \(6,\)"),
        ({"data_shape": (0,)}, ValueError, "data_shape"),
        ({"data_shape": 3}, TypeError, "data_shape"),
        ({"data_shape": (3.0,)}, TypeError, "data_shape"),
        ({"likelihood": vae_jax.normal}, TypeError, "likelihood must be"),
        ({"prior": 2}, TypeError, "prior must be"),
        ({"encoder": lambda x: (x, x)}, TypeError, "vae_jax.Network"),
        ({"encoder": only_mean()}, TypeError, r"\(mean, logvar\)"),
        ({"encoder": Normalised()}, ValueError, "batch_stats"),
        ({"encoder": Branching()}, TypeError, "encoder does not take"),
        ({"data_shape": ()}, ValueError, "encoder does not take"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, error, message):
    """ValueError or TypeError at build time that says what to set."""
    with pytest.raises(error, match=message):
        tiny_vae(**options)


def test_building_computes_nothing():
    """A network of 10^12 weights is checked by its shapes alone."""
    vae = tiny_vae(encoder=vae_jax.MLPEncoder(2, (1_000_000, 1_000_000)))
    shapes = jax.eval_shape(vae.init, jax.random.key(0))
    assert (1_000_000, 1_000_000) in [leaf.shape for leaf in jax.tree.leaves(shapes)]


def test_learned_parameters_of_the_likelihood_follow_the_decoder():
    """decode appends params["likelihood"] to theta; without any there is no such entry."""
    vae = tiny_vae(vae_jax.normal(initial_std=0.5))
    params = vae.init(jax.random.key(0))
    theta = vae.decode(params, jnp.zeros(2))
    assert theta.shape == (4,)
    assert theta[3] == params["likelihood"][0] == jnp.float32(2 * jnp.log(0.5))
    per_dim = tiny_vae(vae_jax.laplace(initial_scale=0.5, learned="per_dim"))
    params = per_dim.init(jax.random.key(0))
    np.testing.assert_allclose(params["likelihood"], np.full(3, np.log(0.5)), rtol=1e-6)
    theta = per_dim.decode(params, jnp.zeros(2))
    np.testing.assert_array_equal(theta[3:], params["likelihood"])
    assert set(tiny_vae(vae_jax.bernoulli()).init(jax.random.key(0))) == {"encoder", "decoder"}
