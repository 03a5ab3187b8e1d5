"""Where x comes from."""

from vae_jax.data.arrays import array_batches
from vae_jax.data.csv_files import CsvOptions
from vae_jax.data.idx import read_idx
from vae_jax.data.image_batches import image_batches, image_values
from vae_jax.data.images import Images, load_images
from vae_jax.data.standardization import Standardization, learn_standardization
from vae_jax.data.stream import Stream, stream_batches, stream_files
from vae_jax.data.swiss_roll import swiss_roll, swiss_roll_batches
from vae_jax.data.tables import Table, load_table

__all__ = [
    "CsvOptions",
    "Images",
    "Standardization",
    "Stream",
    "Table",
    "array_batches",
    "image_batches",
    "image_values",
    "learn_standardization",
    "load_images",
    "load_table",
    "read_idx",
    "stream_batches",
    "stream_files",
    "swiss_roll",
    "swiss_roll_batches",
]
