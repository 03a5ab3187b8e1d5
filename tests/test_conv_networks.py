"""Convolutional networks: what each stage is, and that the decoder mirrors the encoder."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from helpers import init

import vae_jax
from vae_jax.networks import SPREAD
from vae_jax.networks.convolution import (
    conv_down,
    conv_same,
    conv_up,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_restored(shape, stages):
    widths, kernel = (4, 3, 2, 5)[:stages], 3 + stages % 2
    decoder = vae_jax.ConvDecoder(shape, 2, widths, kernel=kernel)
    encoder = vae_jax.ConvEncoder(6, widths, kernel=kernel)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    (mean, logvar), _ = jax.eval_shape(encoder.init_with_output, rng, x)
    theta, _ = jax.eval_shape(decoder.init_with_output, rng, mean)
    assert mean.shape == logvar.shape == (6,)
    assert theta.shape == (2, *shape)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_image_sizes_come_back_exactly(channels):
    """[H, W, C] -> Z -> [P, H, W, C], H = 8 .. 65 with one C each, other widths, 1 to 4 stages."""
    for height in range(7 + channels, 66, 4):
        assert_restored((height, 8 + height * 7 % 58, channels), 1 + height // 4 % 4)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_every_image_size_comes_back_exactly(channels, stages):
    """The same for every H = 8 .. 65 with every C and every number of stages."""
    for height in range(8, 66):
        assert_restored((height, 8 + height * 7 % 58, channels), stages)


def test_every_row_and_column_of_an_odd_image_is_seen_and_made():
    """Each pixel of x moves the mean; each pixel of theta moves with z."""
    encoder = vae_jax.ConvEncoder(1, (4, 4, 4), activation=jnp.tanh)
    decoder = vae_jax.ConvDecoder((9, 13, 1), 1, (4, 4, 4), activation=jnp.tanh)
    x, z = normal(9, 13, 1), normal(1, seed=1)
    variables = jax.jit(encoder.init)(jax.random.key(0), x)
    moved = jax.jit(jax.grad(lambda x: encoder.apply(variables, x)[0][0]))(x)
    assert np.all(np.asarray(moved) != 0)
    variables = jax.jit(decoder.init)(jax.random.key(0), z)
    _, moved = jax.jit(lambda z: jax.jvp(lambda z: decoder.apply(variables, z), (z,), (z,)))(z)
    assert np.all(np.asarray(moved) != 0)


def test_the_networks_are_what_their_docstrings_say():
    """The stages by hand: convolution, blocks, activation; the decoder in the opposite order."""
    x, z = normal(7, 6, 2), normal(3, seed=1)
    encoder = vae_jax.ConvEncoder(3, (4, 5), 1, 3, jnp.tanh)
    decoder = vae_jax.ConvDecoder((7, 6, 2), 2, (4, 5), 1, 3, jnp.tanh)

    def block(x, layers, stage):
        inner, outer = (layers[f"block_{stage}_0_{part}"] for part in ("inner", "outer"))
        hidden = jnp.tanh(conv_same(jnp.tanh(x), inner["kernel"]) + inner["bias"])
        return x + hidden @ outer["kernel"] + outer["bias"]

    variables = jax.jit(encoder.init)(jax.random.key(0), x)
    layers, h = variables["params"]["layers"], x
    for stage in (0, 1):
        down = layers[f"down_{stage}"]
        h = jnp.tanh(block(conv_down(h, down["kernel"]) + down["bias"], layers, stage))
    assert h.shape == (2, 2, 5)
    wanted = jnp.split(h.reshape(-1) @ layers["out"]["kernel"] + layers["out"]["bias"], 2)
    chex.assert_trees_all_close(encoder.apply(variables, x), tuple(wanted), rtol=1e-5, atol=1e-6)

    variables = jax.jit(decoder.init)(jax.random.key(1), z)
    layers = variables["params"]["layers"]
    h = (z @ layers["in"]["kernel"] + layers["in"]["bias"]).reshape(2, 2, 5)
    for stage, size in ((1, (4, 3)), (0, (7, 6))):
        up = layers[f"up_{stage}"]
        h = conv_up(jnp.tanh(block(h, layers, stage)), up["kernel"], *size) + up["bias"]
    assert h.shape == (7, 6, 4)
    theta = decoder.apply(variables, z)
    for output in (0, 1):
        wanted = h[..., 2 * output : 2 * output + 2]
        np.testing.assert_allclose(theta[output], wanted, rtol=1e-5, atol=1e-6)


def test_convolutions_start_uniform_within_a_bound_set_by_fan_in():
    """fan_in is k^2 I for a convolution and k^2 I / 4 for its transpose, which has a quarter of
    the kernel over each pixel."""
    encoder, decoder = (
        vae_jax.ConvEncoder(2, (20, 30)),
        vae_jax.ConvDecoder((8, 8, 30), 1, (20, 30)),
    )
    encoder = jax.jit(encoder.init)(jax.random.key(0), jnp.zeros((8, 8, 3)))
    decoder = jax.jit(decoder.init)(jax.random.key(0), jnp.zeros(2))
    fans = {"down_0": 48, "down_1": 320, "up_1": 120, "up_0": 80}
    layers = {**encoder["params"]["layers"], **decoder["params"]["layers"]}
    for name, fan_in in fans.items():
        bound = SPREAD * fan_in**-0.5
        kernel, bias = np.asarray(layers[name]["kernel"]), np.asarray(layers[name]["bias"])
        assert 0.98 * bound < np.abs(kernel).max() <= bound
        assert 0.5 * bound < np.abs(bias).max() <= bound


def test_an_image_vae_trains_on_bits():
    """A convolutional VAE of 5x4 images learns four bars: the loss falls by half."""
    vae = vae_jax.build_vae(
        vae_jax.ConvEncoder(2, (8,)),
        vae_jax.ConvDecoder((5, 4, 1), 1, (8,)),
        likelihood=vae_jax.bernoulli(),
        prior=vae_jax.standard_normal(2),
        data_shape=(5, 4, 1),
    )
    bars = np.zeros((4, 5, 4, 1), np.float32)
    bars[np.arange(4), :, np.arange(4)] = 1
    optimizer, loss_fn = optax.adam(1e-2), vae_jax.make_elbo(vae)
    start = jax.jit(vae_jax.init_train_state, static_argnums=(1, 2, 3))
    state = start(jax.random.key(0), vae.init, loss_fn, optimizer)
    run = functools.partial(vae_jax.train_scan, batch_fn=vae_jax.array_batches(4), num_steps=300)
    _, metrics = run(state, jax.random.key(1), bars, 1.0)
    assert metrics["loss"][-20:].mean() < metrics["loss"][:5].mean() / 2


def test_a_condition_reaches_both_networks():
    """build_vae(..., condition_shape) with images: the condition moves mean and theta."""
    vae = vae_jax.build_vae(
        vae_jax.ConvEncoder(2, (3,)),
        vae_jax.ConvDecoder((4, 4, 1), 1, (3,), activation=jnp.tanh),
        likelihood=vae_jax.bernoulli(),
        prior=vae_jax.standard_normal(2),
        data_shape=(4, 4, 1),
        condition_shape=(3,),
    )
    params, x = jax.jit(vae.init)(jax.random.key(0)), normal(4, 4, 1)
    assert params["encoder"]["layers"]["out"]["kernel"].shape == (2 * 2 * 3 + 3, 4)
    assert params["decoder"]["layers"]["in"]["kernel"].shape == (2 + 3, 2 * 2 * 3)
    one, two = np.eye(3, dtype=np.float32)[:2]
    assert not np.array_equal(vae.encode(params, x, one)[0], vae.encode(params, x, two)[0])
    z = np.zeros(2, np.float32)
    assert not np.array_equal(vae.decode(params, z, one), vae.decode(params, z, two))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: vae_jax.ConvEncoder(0), "latent_dim"),
        (lambda: vae_jax.ConvEncoder(2, ()), "widths needs at least one stage"),
        (lambda: vae_jax.ConvEncoder(2, (8, 0)), "widths"),
        (lambda: vae_jax.ConvEncoder(2, 8), "widths"),
        (lambda: vae_jax.ConvEncoder(2, blocks=-1), "blocks"),
        (lambda: vae_jax.ConvEncoder(2, kernel=1), "kernel must be at least 2"),
        (lambda: vae_jax.ConvDecoder((8, 8)), "height, width, channels"),
        (lambda: vae_jax.ConvDecoder((8, 8, 0)), "shape"),
        (lambda: vae_jax.ConvDecoder((8, 8, 1), 0), "outputs"),
        (lambda: vae_jax.ConvDecoder((8, 8, 1), kernel="4"), "kernel"),
        (lambda: vae_jax.ConvDecoder((8, 8, 1), activation="relu"), "activation"),
    ],
)
def test_fields_out_of_range_are_refused(make, name):
    """When the module is made, by the name of the field."""
    with pytest.raises((ValueError, TypeError), match=name):
        make()


def test_images_that_do_not_fit_are_refused():
    """No channel axis; a decoder of another number of channels; grey images to a colour VAE."""
    parts = {"likelihood": vae_jax.bernoulli(), "prior": vae_jax.standard_normal(2)}
    encoder = vae_jax.ConvEncoder(2, (4,))
    with pytest.raises(ValueError, match=r"images \[H, W, C\].*one channel"):
        vae_jax.build_vae(encoder, vae_jax.ConvDecoder((8, 8, 1)), **parts, data_shape=(8, 8))
    with pytest.raises(ValueError, match=r"64 numbers.*needs 192"):
        vae_jax.build_vae(encoder, vae_jax.ConvDecoder((8, 8, 1)), **parts, data_shape=(8, 8, 3))
    colour = vae_jax.build_vae(
        encoder, vae_jax.ConvDecoder((8, 8, 3), 1, (4,)), **parts, data_shape=(8, 8, 3)
    )
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 1\).*needs \[B, 8, 8, 3\]"):
        vae_jax.reconstruct(colour, init(colour), np.zeros((2, 8, 8, 1), np.float32))


def test_the_default_networks_fit_28x28_images():
    """Two stages of 32 and 64 channels, kernel 4, ReLU, on both sides."""
    encoder, decoder = vae_jax.ConvEncoder(), vae_jax.ConvDecoder()
    for module in (encoder, decoder):
        assert (module.widths, module.blocks, module.kernel) == ((32, 64), 0, 4)
        assert module.activation is nn.relu
    assert (decoder.shape, decoder.outputs) == ((28, 28, 1), 1)
