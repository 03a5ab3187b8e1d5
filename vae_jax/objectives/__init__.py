"""Bounds and losses: one file each, `make_*(vae, ...) -> loss_fn(params, rng, x, beta)`.

To add one: a file here, its name below and in `vae_jax`, a row in OBJECTIVES in tests/tables.py.
"""

from vae_jax.objectives.capacity import make_capacity
from vae_jax.objectives.ciwae import make_ciwae
from vae_jax.objectives.dip import make_dip
from vae_jax.objectives.elbo import elbo, make_elbo
from vae_jax.objectives.factor import add_critic, make_factor
from vae_jax.objectives.iwae import make_iwae
from vae_jax.objectives.miwae import make_miwae
from vae_jax.objectives.mmd import make_infovae, make_wae
from vae_jax.objectives.piwae import make_piwae
from vae_jax.objectives.tcvae import make_tcvae
from vae_jax.objectives.teaching import make_teaching, teaching_std
from vae_jax.objectives.vq import make_vq

__all__ = [
    "add_critic",
    "elbo",
    "make_capacity",
    "make_ciwae",
    "make_dip",
    "make_elbo",
    "make_factor",
    "make_infovae",
    "make_iwae",
    "make_miwae",
    "make_piwae",
    "make_tcvae",
    "make_teaching",
    "make_vq",
    "make_wae",
    "teaching_std",
]
