"""Small image files, as several test files write them."""

import gzip

import numpy as np
from PIL import Image

from vae_jax.data.sources import MNIST_FILES

PIXELS = np.random.default_rng(0).integers(0, 256, (23, 5, 4, 3), np.uint8)
GREY = PIXELS[..., 0]
LABELS = np.arange(23) % 3


def saved(images, folder, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{index:03d}{suffix}")
    return folder


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def write_mnist(folder):
    folder.mkdir(parents=True)
    arrays = (GREY, LABELS.astype(np.uint8), GREY[:4], LABELS[:4].astype(np.uint8))
    for name, array in zip(MNIST_FILES, arrays, strict=True):
        (folder / name).write_bytes(idx(array))
