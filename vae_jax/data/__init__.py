"""Where x comes from."""

from vae_jax.data.arrays import array_batches
from vae_jax.data.swiss_roll import swiss_roll, swiss_roll_batches

__all__ = ["array_batches", "swiss_roll", "swiss_roll_batches"]
