"""Encoders and decoders: Flax modules, and the record that lets any other function be one."""

from vae_jax.networks.bounded import BoundedEncoder
from vae_jax.networks.conv import ConvDecoder, ConvEncoder
from vae_jax.networks.layers import SPREAD, Activation, apply_layers, init_layers
from vae_jax.networks.mlp import MLPDecoder, MLPEncoder
from vae_jax.networks.record import ACTIVATIONS, Network, as_network

__all__ = [
    "ACTIVATIONS",
    "SPREAD",
    "Activation",
    "BoundedEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "Network",
    "apply_layers",
    "as_network",
    "init_layers",
]
