"""Convolutional networks for images [H, W, C] of any size."""

import math
from functools import partial
from itertools import pairwise

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.checks import check_count, check_counts
from vae_jax.networks.convolution import conv_down, conv_same, conv_up
from vae_jax.networks.layers import (
    Activation,
    Layer,
    Layers,
    check_activation,
    dense,
    draw_layers,
    join,
)
from vae_jax.types import Array


class ConvEncoder(nn.Module):
    """x [..., H, W, C] -> (mean [..., Z], logvar [..., Z]).

    Each entry of `widths` is a stage: a convolution of stride 2 to that many channels, which
    halves the image (rounded up), `blocks` residual blocks, and the activation. What is left,
    ceil(H / 2^stages) x ceil(W / 2^stages) x widths[-1] numbers, goes through one affine layer.
    A residual block is x + w activation(conv3x3(activation(x))), w a 1x1 convolution. A condition
    joins the features before the affine layer.

    Kernels and biases start uniform in +-1.2/sqrt(fan_in), as in `MLPEncoder`; there is no
    normalisation over the batch, so an example's code does not depend on its neighbours.

    Raises:
        TypeError, ValueError: a field out of range, or, at the first use, an x that is no image.
    """

    latent_dim: int = 32
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 0
    kernel: int = 4
    activation: Activation = nn.relu

    def __post_init__(self) -> None:
        object.__setattr__(self, "latent_dim", check_count("latent_dim", self.latent_dim))
        _check_fields(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        if x.ndim < 3:
            raise ValueError(
                f"ConvEncoder takes images [H, W, C], got shape {x.shape}; a grey image has "
                f"one channel, x[..., None]."
            )
        sizes = _sizes(x.shape[-3], x.shape[-2], len(self.widths))
        features = math.prod(sizes[-1]) * self.widths[-1]
        shapes = {}
        for stage, (before, width) in enumerate(pairwise((x.shape[-1], *self.widths))):
            shape = (width, self.kernel, self.kernel, before)
            shapes[f"down_{stage}"] = Layer(shape, width, self.kernel**2 * before)
            shapes |= _block_shapes(stage, self.blocks, width)
        joined = join(jnp.zeros((*x.shape[:-3], features)), condition).shape[-1]
        shapes["out"] = dense(joined, 2 * self.latent_dim)
        layers = self.param("layers", draw_layers, shapes)

        for stage in range(len(self.widths)):
            down = layers[f"down_{stage}"]
            x = conv_down(x, down["kernel"]) + down["bias"]
            x = self.activation(_residual(x, layers, stage, self.blocks, self.activation))
        x = join(x.reshape(*x.shape[:-3], features), condition)
        out = x @ layers["out"]["kernel"] + layers["out"]["bias"]
        mean, logvar = jnp.split(out, 2, axis=-1)
        return mean, logvar


class ConvDecoder(nn.Module):
    """z [..., Z] -> theta [..., P, H, W, C]: the mirror image of `ConvEncoder`.

    `shape` is the image's (H, W, C); `outputs` is P, the likelihood's parameters per dimension, of
    which a likelihood wants all D of the first before the second. `widths`, `blocks`, `kernel` are
    the encoder's, in its order; the stages are run from the last to the first, each the activation
    after `blocks` residual blocks, then the transposed convolution to the size that the encoder's
    stage began with, so odd sizes come back exactly. A condition joins z.

    Raises:
        TypeError, ValueError: a field out of range.
    """

    shape: tuple[int, int, int] = (28, 28, 1)
    outputs: int = 1
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 0
    kernel: int = 4
    activation: Activation = nn.relu

    def __post_init__(self) -> None:
        shape = check_counts("shape", self.shape)
        if len(shape) != 3:
            raise ValueError(f"shape must be an image's (height, width, channels), got {shape}.")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "outputs", check_count("outputs", self.outputs))
        _check_fields(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        height, width, channels = self.shape
        sizes, batch = _sizes(height, width, len(self.widths)), z.shape[:-1]
        z = join(z, condition)
        shapes = {"in": dense(z.shape[-1], math.prod(sizes[-1]) * self.widths[-1])}
        for stage, (after, before) in enumerate(pairwise((channels * self.outputs, *self.widths))):
            shapes |= _block_shapes(stage, self.blocks, before)
            shape = (self.kernel, self.kernel, after, before)
            shapes[f"up_{stage}"] = Layer(shape, after, self.kernel**2 * before / 4)
        layers = self.param("layers", draw_layers, shapes)

        x = z @ layers["in"]["kernel"] + layers["in"]["bias"]
        x = x.reshape(*batch, *sizes[-1], self.widths[-1])
        for stage in reversed(range(len(self.widths))):
            x = self.activation(_residual(x, layers, stage, self.blocks, self.activation))
            up = layers[f"up_{stage}"]
            x = conv_up(x, up["kernel"], *sizes[stage]) + up["bias"]
        return jnp.moveaxis(x.reshape(*batch, height, width, self.outputs, channels), -2, -4)


def _residual(x: Array, layers: Layers, stage: int, blocks: int, activation: Activation) -> Array:
    for block in range(blocks):
        inner, outer = (layers[f"block_{stage}_{block}_{part}"] for part in ("inner", "outer"))
        hidden = activation(conv_same(activation(x), inner["kernel"]) + inner["bias"])
        x = x + hidden @ outer["kernel"] + outer["bias"]
    return x


def _block_shapes(stage: int, blocks: int, width: int) -> dict[str, Layer]:
    shapes = {}
    for block in range(blocks):
        name = partial("block_{}_{}_{}".format, stage, block)
        shapes[name("inner")] = Layer((width, 3, 3, width), width, 9 * width)
        shapes[name("outer")] = dense(width, width)
    return shapes


def _sizes(height: int, width: int, stages: int) -> list[tuple[int, int]]:
    """Height and width before every stage, and after the last."""
    return [(-(-height // 2**stage), -(-width // 2**stage)) for stage in range(stages + 1)]


def _check_fields(module: ConvEncoder | ConvDecoder) -> None:
    """Raises TypeError or ValueError unless the fields that both networks have are in range."""
    widths = check_counts("widths", module.widths)
    if not widths:
        raise ValueError("widths needs at least one stage, such as (32, 64).")
    object.__setattr__(module, "widths", widths)
    object.__setattr__(module, "blocks", check_count("blocks", module.blocks, 0))
    object.__setattr__(module, "kernel", check_count("kernel", module.kernel, 2))
    check_activation(module.activation)
