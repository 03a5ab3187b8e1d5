"""What the package promises by name."""

import inspect

import pytest

import vae_jax
from vae_jax import objectives

CONTRACT = {
    "reparameterize": ["rng", "mean", "logvar"],
    "kl_standard_normal": ["mean", "logvar"],
    "elbo": ["recon", "kl"],
    "build_vae": ["encoder", "decoder", "likelihood", "prior", "data_shape"],
    "make_elbo": ["vae"],
    "make_teaching": ["vae"],
    "log_weight": ["vae", "params", "rng", "x"],
    "init_train_state": ["rng", "init_fn", "loss_fn", "optimizer"],
    "train_step": ["state", "rng", "x", "beta"],
    "train_scan": ["state", "rng", "data", "beta", "batch_fn", "num_steps"],
    "replicate": ["fn"],
}
"""Names and arguments that users and course material rely on."""


@pytest.mark.parametrize("name", CONTRACT)
def test_the_contract_functions_keep_their_arguments(name):
    """Importable from vae_jax, with these arguments in this order; any other has a default."""
    parameters = inspect.signature(getattr(vae_jax, name)).parameters
    assert [parameter for parameter in parameters if parameter in CONTRACT[name]] == CONTRACT[name]
    others = [parameters[parameter] for parameter in parameters if parameter not in CONTRACT[name]]
    assert all(other.default is not inspect.Parameter.empty for other in others)


def test_the_contract_records_keep_their_fields():
    """VAE, TrainState, MLPEncoder and MLPDecoder have the fields that DESIGN.md names."""
    assert {"init", "encode", "decode", "likelihood", "prior"} <= set(vae_jax.VAE._fields)
    state = set(vae_jax.TrainState.__dataclass_fields__)
    assert state == {"params", "opt_state", "step", "loss_fn", "optimizer"}
    for module, size in ((vae_jax.MLPEncoder, "latent_dim"), (vae_jax.MLPDecoder, "num_out")):
        assert list(module.__dataclass_fields__)[:3] == [size, "hidden", "activation"]


@pytest.mark.parametrize("name", vae_jax.__all__)
def test_every_public_name_is_documented(name):
    """A docstring written by hand, not the signature that Python makes up for a class."""
    text = inspect.getdoc(getattr(vae_jax, name))
    assert text
    assert not text.startswith(f"{name}(")


def test_every_objective_is_public():
    """What objectives/ exports, vae_jax exports."""
    assert set(objectives.__all__) <= set(vae_jax.__all__)
