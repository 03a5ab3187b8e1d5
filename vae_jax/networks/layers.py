"""Layers as plain dicts of arrays: their first values, and dense ones put to use."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]

Layers = dict[str, dict[str, jax.Array]]
"""Layer -> "kernel" and "bias"."""

SPREAD = 1.2
"""Kernels and biases start uniform in +-SPREAD / sqrt(fan_in)."""


class Layer(NamedTuple):
    """The shapes of one layer: its kernel, its outputs (and biases), the inputs of an output."""

    kernel: tuple[int, ...]
    num_out: int
    fan_in: float


def dense(fan_in: int, num_out: int) -> Layer:
    return Layer((fan_in, num_out), num_out, fan_in)


def check_activation(activation: object) -> None:
    if not callable(activation):
        raise TypeError(f"activation must be a function such as jax.nn.relu, got {activation!r}.")


def draw_layers(rng: jax.Array, layers: dict[str, Layer]) -> Layers:
    """A kernel and a bias [num_out] for each layer, by its name.

    All come from one draw, which compiles once; a draw for each array compiles many times over
    and took most of the time to a small network's first step.
    """
    lengths = [math.prod(layer.kernel) + layer.num_out for layer in layers.values()]
    draw = jax.random.uniform(rng, (sum(lengths),), minval=-SPREAD, maxval=SPREAD)
    parts = jnp.split(draw, list(itertools.accumulate(lengths))[:-1])
    first = {}
    for (name, layer), part in zip(layers.items(), parts, strict=True):
        scaled = part * layer.fan_in**-0.5
        kernel, bias = scaled[: -layer.num_out], scaled[-layer.num_out :]
        first[name] = {"kernel": kernel.reshape(layer.kernel), "bias": bias}
    return first


def init_layers(rng: jax.Array, sizes: Sequence[int]) -> Layers:
    """Kernels [fan_in, fan_out] and biases [fan_out] of dense layers between these sizes."""
    shapes = (dense(*pair) for pair in itertools.pairwise(sizes))
    return draw_layers(rng, dict(zip(_names(sizes), shapes, strict=True)))


def apply_layers(layers: Any, inputs: jax.Array, activation: Activation) -> jax.Array:
    """The dense layers of `init_layers` on inputs [..., fan_in], with `activation` between them."""
    *before, out = (layers[name] for name in _names(range(len(layers) + 1)))
    for layer in before:
        inputs = activation(inputs @ layer["kernel"] + layer["bias"])
    outputs: jax.Array = inputs @ out["kernel"] + out["bias"]
    return outputs


def join(inputs: jax.Array, condition: jax.Array | None) -> jax.Array:
    """The inputs [..., D] with the numbers of the condition behind them."""
    if condition is None:
        return inputs
    flat = jnp.reshape(condition, (*inputs.shape[:-1], -1))
    return jnp.concatenate([inputs, flat.astype(inputs.dtype)], axis=-1)


def _names(sizes: Sequence[int]) -> list[str]:
    return [*(f"hidden_{index}" for index in range(len(sizes) - 2)), "out"]
