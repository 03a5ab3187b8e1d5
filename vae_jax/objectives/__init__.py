"""Bounds and losses: one file each, `make_*(vae, ...) -> loss_fn(params, rng, x, beta)`.

To add one: a file here, its name below and in `vae_jax`, a row in OBJECTIVES in tests/tables.py.
"""

from vae_jax.objectives.elbo import elbo, make_elbo
from vae_jax.objectives.teaching import make_teaching, teaching_std

__all__ = ["elbo", "make_elbo", "make_teaching", "teaching_std"]
