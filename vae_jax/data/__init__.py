"""Where x comes from."""

from vae_jax.data.arrays import array_batches
from vae_jax.data.image_batches import image_batches, image_values
from vae_jax.data.images import Images, load_images
from vae_jax.data.swiss_roll import swiss_roll, swiss_roll_batches

__all__ = [
    "Images",
    "array_batches",
    "image_batches",
    "image_values",
    "load_images",
    "swiss_roll",
    "swiss_roll_batches",
]
