"""Batches of images that stay bytes on the device until their step."""

import difflib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count
from vae_jax.data.arrays import array_batches
from vae_jax.types import Array, BatchFn, Key

NOISE = np.uint32(2**32 - 1)
"""What the key is folded with for noise: a number that no epoch reaches, so that noise and the
order of the rows, which fold in the epoch, have nothing in common."""


def image_batches(batch_size: int, form: str) -> BatchFn:
    """A `batch_fn` of images uint8 [N, H, W, C] as `image_values`: float32 [B, H, W, C].

    Rows come as from `array_batches`; the noise of "dequantized" and "binarized" is a function of
    the key and the step alone, and another one at every step.

    Raises:
        TypeError, ValueError: `batch_size` is not a whole number of at least 1, there is no such
            form, or, when the batch_fn is called, the data is not uint8.
    """
    check_count("batch_size", batch_size)
    values, rows = _form(form), array_batches(batch_size)

    def batch_fn(data: Array, rng: Key, step: Array) -> Array:
        images = rows(_check_bytes(data), rng, step)
        return values(jax.random.fold_in(jax.random.fold_in(rng, NOISE), step), images)

    return batch_fn


def image_values(rng: Key, images: Array, form: str) -> Array:
    """uint8 images [...] as the float32 [...] that a likelihood is over.

        scaled        x / 255
        dequantized   (x + u) / 256, u uniform on [0, 1): a density over it bounds bits/dim
        binarized     1 with probability x / 255, else 0
        bits          x itself, for images of 0 and 1

    Raises:
        ValueError: there is no such form.
        TypeError: the images are not uint8.
    Source: uniform noise, Theis et al., arXiv:1511.01844, section 3.1; binarisation at every use,
        Burda et al., arXiv:1509.00519, section 5.
    """
    return _form(form)(rng, _check_bytes(images))


def _check_bytes(images: Array) -> Array:
    if jnp.result_type(images) != jnp.uint8:
        raise TypeError(
            f"Images are uint8 until they are used, got {jnp.result_type(images)}; for rows of "
            f"floats there is array_batches."
        )
    return images


def _dequantized(rng: Key, images: Array) -> Array:
    # With 16 bits of noise x + u is exact in float32 and cannot round up to x + 1.
    noise = jax.random.bits(rng, jnp.shape(images), jnp.uint16).astype(jnp.float32)
    return (images.astype(jnp.float32) + noise / 2**16) / 256.0


def _binarized(rng: Key, images: Array) -> Array:
    noise = jax.random.uniform(rng, jnp.shape(images))
    return (255.0 * noise < images.astype(jnp.float32)).astype(jnp.float32)


FORMS: dict[str, Callable[[Key, Array], Array]] = {
    "scaled": lambda rng, images: images.astype(jnp.float32) / 255.0,
    "dequantized": _dequantized,
    "binarized": _binarized,
    "bits": lambda rng, images: images.astype(jnp.float32),
}


def _form(name: str) -> Callable[[Key, Array], Array]:
    if name not in FORMS:
        near = difflib.get_close_matches(str(name), FORMS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FORMS)}."
        raise ValueError(f"There is no form {name!r} of images; {hint}")
    return FORMS[name]
