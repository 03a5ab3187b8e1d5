"""The record that lets any pair of functions be a network, and Flax modules as that record."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from vae_jax.networks.layers import Activation
from vae_jax.types import Array, Key, Params


class Network(NamedTuple):
    """A function with parameters: what the package asks of an encoder or decoder.

    Wrap anything in it (Equinox, nnx, raw arrays) to use it in place of a Flax module:
    an encoder's `apply(params, x)` returns (mean [Z], logvar [Z]), a decoder's
    `apply(params, z)` returns theta, both for ONE example.
    """

    init: Callable[..., Params]
    """rng, example -> params; of a conditional VAE: rng, example, condition"""
    apply: Callable[..., Any]
    """params, example -> output; of a conditional VAE: params, example, condition"""


def as_network(network: Any) -> Network:
    """`network` as a pure pair (init, apply): a Flax linen module is unwrapped, a `Network` kept.

    Raises:
        TypeError: it is neither.
        ValueError: at `init`, if a Flax module keeps state beside its parameters.
    """
    if isinstance(network, Network):
        return network
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"A network is a flax.linen module or vae_jax.Network(init, apply), "
            f"got {type(network).__name__}; wrap its two functions in vae_jax.Network."
        )

    def init(rng: Key, *example: Array) -> Params:
        variables = network.init(rng, *example)
        if extra := sorted(set(variables) - {"params"}):
            raise ValueError(
                f"{type(network).__name__} keeps state beside its parameters ({', '.join(extra)}); "
                f"a VAE here is a pure function, so use a layer without running averages."
            )
        return variables.get("params", {})

    def apply(params: Params, *example: Array) -> Any:
        return network.apply({"params": params}, *example)

    return Network(init, apply)


ACTIVATIONS: dict[str, Activation] = {
    "relu": nn.relu,
    "tanh": jnp.tanh,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "elu": nn.elu,
    "softplus": nn.softplus,
}
"""The activations that a saved run can name."""
