"""Convolutions as one matrix product each, for images [..., H, W, C].

The compiler's own convolution is slow on a CPU, its gradients above all. Here the pixels that an
output sees are copied side by side and multiplied by the kernel as a matrix, so forward and
backward are matrix products, slices and sums; under vmap over parameters they stay products.
Stride 2 works on blocks: 2x2 pixels become 4 C channels of one, and a kernel of 4 (or 3) becomes
one of 2 that moves by one block.

Kernels lie with the input channels last. The kernel's gradient is then a product of a small
transposed matrix and a large one that stays as it is; the other way round it takes twice as long.
"""

import itertools

import jax.numpy as jnp
from jax import Array


def conv_down(x: Array, kernel: Array) -> Array:
    """Convolution of stride 2: x [..., H, W, I], kernel [O, k, k, I] -> [..., H', W', O].

        out[i, j] = sum_{a, b} kernel[:, a, b] x[2 i + a - t + 1, 2 j + b - t + 1]

    with t = ceil(k / 2), H' = ceil(H / 2), W' = ceil(W / 2), and zeros outside of the image.
    """
    height, width = x.shape[-3:-1]
    taps = -(-kernel.shape[1] // 2)
    matrix = _blocks_of_taps(kernel, 1).reshape(kernel.shape[0], -1)
    padded = _pad(x, (taps - 1, taps - 1 + height % 2), (taps - 1, taps - 1 + width % 2))
    return _product(_windows(space_to_depth(padded), taps), matrix)


def conv_up(x: Array, kernel: Array, height: int, width: int) -> Array:
    """The transpose of `conv_down` as a map of images: x [..., H', W', I] -> [..., H, W, O].

        <conv_up(x, kernel), y> = <x, conv_down(y, kernel as [I, k, k, O])>,  kernel [k, k, O, I]

    `height` and `width` are H and W, which H' = ceil(H / 2) and W' leave open. Inputs are gathered
    before the product, or outputs added up after it, whichever moves fewer numbers.
    """
    num_out, num_in = kernel.shape[2:]
    taps = -(-kernel.shape[0] // 2)
    edge = taps - 1
    blocks = _blocks_of_taps(kernel, 0)
    if 4 * num_out < num_in:
        parts = jnp.split(_product(x, blocks.reshape(-1, num_in)), taps**2, axis=-1)
        places = itertools.product(range(taps), repeat=2)
        moved = [
            _pad(part, (i, edge - i), (j, edge - j))
            for part, (i, j) in zip(parts, places, strict=True)
        ]
        out = sum(moved[1:], moved[0])
    else:
        matrix = jnp.moveaxis(blocks[::-1, ::-1], (0, 1), (3, 4)).reshape(4 * num_out, -1)
        out = _product(_windows(_pad(x, (edge, edge), (edge, edge)), taps), matrix)
    return depth_to_space(out)[..., edge : edge + height, edge : edge + width, :]


def conv_same(x: Array, kernel: Array) -> Array:
    """Convolution that keeps the size: x [..., H, W, I], kernel [O, k, k, I] -> [..., H, W, O].

    The window of an output begins (k - 1) // 2 pixels before it.
    """
    size = kernel.shape[1]
    around = ((size - 1) // 2, size // 2)
    return _product(_windows(_pad(x, around, around), size), kernel.reshape(kernel.shape[0], -1))


def space_to_depth(x: Array) -> Array:
    """Blocks of 2x2 pixels as one of 4 C channels: [..., 2 H, 2 W, C] -> [..., H, W, 4 C]."""
    *batch, height, width, channels = x.shape
    split = x.reshape(*batch, height // 2, 2, width // 2, 2, channels).swapaxes(-4, -3)
    return split.reshape(*batch, height // 2, width // 2, 4 * channels)


def depth_to_space(x: Array) -> Array:
    """The inverse of `space_to_depth`: [..., H, W, 4 C] -> [..., 2 H, 2 W, C]."""
    *batch, height, width, channels = x.shape
    split = x.reshape(*batch, height, width, 2, 2, channels // 4).swapaxes(-4, -3)
    return split.reshape(*batch, 2 * height, 2 * width, channels // 4)


def _blocks_of_taps(kernel: Array, axis: int) -> Array:
    """Axes (k, k) from `axis` on become (t, t, 2, 2): which block, and which pixel in it."""
    size, before, after = kernel.shape[axis], kernel.shape[:axis], kernel.shape[axis + 2 :]
    taps = -(-size // 2)
    fill = [(0, 2 * taps - size if axis <= i <= axis + 1 else 0) for i in range(kernel.ndim)]
    split = jnp.pad(kernel, fill).reshape(*before, taps, 2, taps, 2, *after)
    return split.swapaxes(axis + 1, axis + 2)


def _windows(x: Array, size: int) -> Array:
    """The size x size pixels from each place on, side by side: [..., H', W', size^2 C]."""
    height, width = (length - size + 1 for length in x.shape[-3:-1])
    places = itertools.product(range(size), repeat=2)
    return jnp.concatenate([x[..., i : i + height, j : j + width, :] for i, j in places], axis=-1)


def _pad(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    return jnp.pad(x, [*[(0, 0)] * (x.ndim - 3), rows, columns, (0, 0)])


def _product(x: Array, matrix: Array) -> Array:
    return jnp.einsum("...i,oi->...o", x, matrix)
