"""Matrix products that are convolutions, and their transposes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.networks.convolution import (
    conv_down,
    conv_same,
    conv_up,
    depth_to_space,
    space_to_depth,
)

LAYOUT = ("NHWC", "OHWI", "NHWC")
KERNELS = (2, 3, 4, 5, 6)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(2, 3))
def reference(x, kernel, stride, pads):
    """The compiler's own convolution, with one padding for each side of each axis."""
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=LAYOUT)


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 3), (2, 5)])
def test_conv_down_is_a_convolution_of_stride_two(shape, size):
    """conv_down(x, kernel) = lax.conv with stride 2, ceil(k / 2) - 1 zeros before the image."""
    x, kernel = normal(2, *shape, 3), normal(5, size, size, 3, seed=1)
    pads = []
    for length in shape:
        before = -(-size // 2) - 1
        pads.append((before, 2 * (-(-length // 2) - 1) + size - before - length))
    wanted = reference(x, kernel, 2, tuple(pads))
    assert wanted.shape[1:3] == tuple(-(-length // 2) for length in shape)
    np.testing.assert_allclose(jax.jit(conv_down)(x, kernel), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 3)])
@pytest.mark.parametrize("channels", [(2, 3), (9, 2)], ids=["gathered", "added up"])
def test_conv_up_is_the_transpose_of_conv_down(shape, size, channels):
    """<conv_up(x, w), y> = <x, conv_down(y, w)> for all x and y, in both of its forms."""
    num_in, num_out = channels
    kernel = normal(size, size, num_out, num_in)
    down = np.moveaxis(kernel, 3, 0)
    small = (2, *(-(-length // 2) for length in shape), num_in)
    y = jax.ShapeDtypeStruct((2, *shape, num_out), jnp.float32)
    transpose = jax.jit(jax.linear_transpose(lambda y: conv_down(y, down), y))
    x = normal(*small, seed=1)
    np.testing.assert_allclose(
        jax.jit(conv_up, static_argnums=(2, 3))(x, kernel, *shape),
        transpose(x)[0],
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("size", [1, *KERNELS])
def test_conv_same_keeps_the_size(size):
    """conv_same(x, kernel) = lax.conv with (k - 1) // 2 zeros before and k // 2 after."""
    x, kernel = normal(2, 5, 4, 3), normal(6, size, size, 3, seed=1)
    wanted = reference(x, kernel, 1, (((size - 1) // 2, size // 2),) * 2)
    np.testing.assert_allclose(jax.jit(conv_same)(x, kernel), wanted, rtol=1e-4, atol=1e-4)


def test_blocks_are_two_by_two_pixels():
    """space_to_depth puts a block's four pixels into one, depth_to_space puts them back."""
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    blocks = space_to_depth(x)
    np.testing.assert_array_equal(blocks[1, 1, 2], x[1, 2:4, 4:6].reshape(-1))
    np.testing.assert_array_equal(depth_to_space(blocks), x)
