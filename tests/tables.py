"""What the contract suites run over: a new part adds one row here and inherits every check."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

import vae_jax
from vae_jax.types import Array, Key, LossFn


class ObjectiveRow(NamedTuple):
    make: Callable[[vae_jax.VAE], LossFn]
    coupled: bool = False
    """The loss is not a mean over examples of terms of one example each."""
    weighs_kl: bool = True
    """loss(beta) - loss(0) = beta * kl."""
    own_gradient: bool = False
    """The gradient is, on purpose, not the derivative of the loss's value."""
    prepare: Callable[[vae_jax.VAE], vae_jax.VAE] = lambda vae: vae
    """What the objective needs of a VAE."""


OBJECTIVES: dict[str, ObjectiveRow] = {
    "elbo": ObjectiveRow(vae_jax.make_elbo),
    "free bits": ObjectiveRow(
        lambda vae: vae_jax.make_elbo(vae, 0.05), coupled=True, weighs_kl=False
    ),
    "teaching": ObjectiveRow(vae_jax.make_teaching),
    "capacity": ObjectiveRow(
        lambda vae: vae_jax.make_capacity(vae, 0.2), coupled=True, weighs_kl=False
    ),
    "iwae": ObjectiveRow(lambda vae: vae_jax.make_iwae(vae, 4), weighs_kl=False),
    "iwae stl": ObjectiveRow(
        lambda vae: vae_jax.make_iwae(vae, 4, "stl"), weighs_kl=False, own_gradient=True
    ),
    "iwae dreg": ObjectiveRow(
        lambda vae: vae_jax.make_iwae(vae, 4, "dreg"), weighs_kl=False, own_gradient=True
    ),
    "miwae": ObjectiveRow(lambda vae: vae_jax.make_miwae(vae, 2, 3), weighs_kl=False),
    "ciwae": ObjectiveRow(lambda vae: vae_jax.make_ciwae(vae, 4, 0.3), weighs_kl=False),
    "piwae": ObjectiveRow(
        lambda vae: vae_jax.make_piwae(vae, 2, 3), weighs_kl=False, own_gradient=True
    ),
    "tcvae": ObjectiveRow(lambda vae: vae_jax.make_tcvae(vae, 50), coupled=True, weighs_kl=False),
    "tcvae weighted": ObjectiveRow(
        lambda vae: vae_jax.make_tcvae(vae, 50, "weighted"), coupled=True, weighs_kl=False
    ),
    "infovae": ObjectiveRow(vae_jax.make_infovae, coupled=True, weighs_kl=False),
    "wae": ObjectiveRow(vae_jax.make_wae, coupled=True, weighs_kl=False),
    "dip": ObjectiveRow(vae_jax.make_dip, coupled=True),
    "factor": ObjectiveRow(
        vae_jax.make_factor,
        coupled=True,
        own_gradient=True,
        prepare=lambda vae: vae_jax.add_critic(vae, (4,)),
    ),
}
"""make_vq has tests of its own: it needs another prior, and draws nothing."""


PRIORS: dict[str, Callable[[int], vae_jax.Prior]] = {
    "standard_normal": vae_jax.standard_normal,
    "mixture_of_normals": lambda latent_dim: vae_jax.mixture_of_normals(latent_dim, 3),
    "vamp_prior": lambda latent_dim: vae_jax.vamp_prior(latent_dim, 3),
    "flow_prior": lambda latent_dim: vae_jax.flow_prior(latent_dim, 2, (5,)),
    "codebook": lambda latent_dim: vae_jax.codebook(latent_dim, 5, latent_dim),
}
"""latent_dim -> prior."""

POSTERIORS: dict[str, Callable[[], vae_jax.Posterior]] = {
    "diagonal_normal": vae_jax.diagonal_normal,
    "coupling_flow": lambda: vae_jax.coupling_flow(3, (5,)),
}


class NetworkRow(NamedTuple):
    encoder: Callable[[int], Any]
    """latent_dim -> network from x [*data_shape] to (mean [Z], logvar [Z])."""
    decoder: Callable[[int], Any]
    """num_out -> network from z [Z] to theta of num_out numbers."""
    data_shape: tuple[int, ...] = (3,)


def affine(num_out: int) -> vae_jax.Network:
    """x @ kernel + bias on raw arrays: no library between the parameters and the function."""

    def init(rng: Key, example: Array) -> dict[str, Array]:
        kernel = jax.random.normal(rng, (example.shape[-1], num_out)) / example.shape[-1] ** 0.5
        return {"kernel": kernel, "bias": jnp.zeros(num_out)}

    return vae_jax.Network(init, lambda params, x: x @ params["kernel"] + params["bias"])


def affine_encoder(latent_dim: int) -> vae_jax.Network:
    init, apply = affine(2 * latent_dim)

    def halves(params: dict[str, Array], x: Array) -> tuple[Array, Array]:
        out = apply(params, x)
        return out[..., :latent_dim], out[..., latent_dim:]

    return vae_jax.Network(init, halves)


class OwnEncoder(nn.Module):
    """A Flax module of the user's own, with nested submodules."""

    latent_dim: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        body = nn.Sequential([nn.Dense(4), nn.tanh, nn.LayerNorm()])(x)
        return nn.Dense(self.latent_dim)(body), nn.Dense(self.latent_dim)(body)


NETWORKS: dict[str, NetworkRow] = {
    "affine MLP": NetworkRow(
        lambda latent_dim: vae_jax.MLPEncoder(latent_dim, ()),
        lambda num_out: vae_jax.MLPDecoder(num_out, ()),
    ),
    "MLP": NetworkRow(
        lambda latent_dim: vae_jax.MLPEncoder(latent_dim, (4,)),
        lambda num_out: vae_jax.MLPDecoder(num_out, (5, 4)),
    ),
    "tanh MLP": NetworkRow(
        lambda latent_dim: vae_jax.MLPEncoder(latent_dim, (4, 5), nn.tanh),
        lambda num_out: vae_jax.MLPDecoder(num_out, (4,), nn.tanh),
    ),
    "conv": NetworkRow(
        lambda latent_dim: vae_jax.ConvEncoder(latent_dim, (4,), 1, 3, nn.tanh),
        lambda num_out: vae_jax.ConvDecoder((num_out, 1, 1), 1, (4,), 1, 3, nn.tanh),
        data_shape=(3, 1, 1),
    ),
    "own Flax module": NetworkRow(OwnEncoder, lambda num_out: nn.Dense(num_out)),
    "raw arrays": NetworkRow(affine_encoder, affine),
}
