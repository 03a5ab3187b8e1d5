"""Every network is a pure function of its parameters and ONE example."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import init
from tables import NETWORKS

import vae_jax
from vae_jax.networks import SPREAD, as_network

each = pytest.mark.parametrize("row", NETWORKS.values(), ids=NETWORKS)


def built(row):
    return vae_jax.build_vae(
        row.encoder(2),
        row.decoder(3),
        likelihood=vae_jax.bernoulli(),
        prior=vae_jax.standard_normal(2),
        data_shape=row.data_shape,
    )


@each
def test_shapes_of_one_example_and_with_jit(row):
    """x [*data_shape] -> (mean [Z], logvar [Z]); z [Z] -> theta [D]; jit changes nothing."""
    vae = built(row)
    params = init(vae)
    assert set(params) == {"encoder", "decoder"}
    x = np.float32([0.2, -1.0, 3.0]).reshape(row.data_shape)
    z = np.float32([0.5, -0.5])
    mean, logvar = vae.encode(params, x)
    theta = vae.decode(params, z)
    assert (mean.shape, logvar.shape, theta.shape) == ((2,), (2,), (3,))
    chex.assert_trees_all_close(jax.jit(vae.encode)(params, x), (mean, logvar), rtol=1e-5)
    chex.assert_trees_all_close(jax.jit(vae.decode)(params, z), theta, rtol=1e-5)


@each
def test_a_batch_by_vmap_is_a_batch_by_broadcasting(row):
    """vmap(apply)(x [B, ...]) = apply(x [B, ...])."""
    for network, shape in ((row.encoder(2), row.data_shape), (row.decoder(3), (2,))):
        network = as_network(network)
        params = network.init(jax.random.key(0), jnp.zeros(shape))
        batch = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
        mapped = jax.jit(jax.vmap(network.apply, (None, 0)))(params, batch)
        broadcast = jax.jit(network.apply)(params, batch)
        chex.assert_trees_all_close(mapped, broadcast, rtol=1e-5, atol=1e-6)


@each
def test_parameters_are_a_plain_dict_drawn_by_the_key(row):
    """init(rng) is a nested dict of arrays: equal for equal keys, other for others."""
    vae = built(row)
    one, same, other = (init(vae, seed) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, same)
    for part in ("encoder", "decoder"):
        assert type(one[part]) is dict
        pairs = zip(jax.tree.leaves(one[part]), jax.tree.leaves(other[part]), strict=True)
        assert any(not np.array_equal(a, b) for a, b in pairs)


@each
def test_every_parameter_is_used(row):
    """No layer is cut off: a gradient reaches each array."""
    vae = built(row)
    loss_fn, rng = vae_jax.make_elbo(vae), jax.random.key(2)
    x = np.random.default_rng(0).uniform(size=(64, *row.data_shape)).astype(np.float32)
    grads = jax.jit(jax.grad(lambda params: loss_fn(params, rng, x, 1.0)[0]))(init(vae))
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(grads))


def test_mlp_weights_start_uniform_within_a_bound_set_by_fan_in():
    """Kernels and biases of layer l fill +-SPREAD / sqrt(inputs of l), the biases too."""
    network = vae_jax.MLPEncoder(3, (100, 400))
    params = network.init(jax.random.key(0), jnp.zeros(25))["params"]["layers"]
    params = jax.tree.map(np.asarray, params)
    shapes = {name: layer["kernel"].shape for name, layer in params.items()}
    assert shapes == {"hidden_0": (25, 100), "hidden_1": (100, 400), "out": (400, 6)}
    for layer in ("hidden_0", "hidden_1"):
        bound = SPREAD * shapes[layer][0] ** -0.5
        for leaf in params[layer].values():
            assert 0.95 * bound < np.abs(leaf).max() <= bound
            spread = np.mean(np.square(leaf)) / (bound**2 / 3)
            np.testing.assert_allclose(spread, 1.0, atol=4 * 0.9 / leaf.size**0.5)


def test_affine_networks_are_affine():
    """hidden=() gives x @ kernel + bias."""
    network = vae_jax.MLPDecoder(4, ())
    x = np.float32([[1.0, -2.0], [0.5, 3.0]])
    variables = network.init(jax.random.key(0), x)
    layer = variables["params"]["layers"]["out"]
    wanted = x @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(network.apply(variables, x), wanted, rtol=1e-6)


def test_the_defaults_are_the_swiss_roll_network():
    """2-256-256-256-(2, 2) and its mirror image, with ReLU."""
    encoder, decoder = vae_jax.MLPEncoder(), vae_jax.MLPDecoder()
    assert (encoder.latent_dim, decoder.num_out) == (2, 2)
    assert encoder.hidden == decoder.hidden == (256, 256, 256)
    assert encoder.activation is decoder.activation is nn.relu


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: vae_jax.MLPEncoder(0), "latent_dim"),
        (lambda: vae_jax.MLPEncoder(2.0), "latent_dim"),
        (lambda: vae_jax.MLPDecoder(-1), "num_out"),
        (lambda: vae_jax.MLPDecoder(2, (8, 0)), "hidden"),
        (lambda: vae_jax.MLPEncoder(2, 8), "hidden"),
        (lambda: vae_jax.MLPEncoder(2, "8"), "hidden"),
    ],
)
def test_sizes_must_be_counts(make, name):
    """A size is a whole number of at least 1, refused when the module is made."""
    with pytest.raises((ValueError, TypeError), match=name):
        make()
