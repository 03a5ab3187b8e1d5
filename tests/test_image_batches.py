"""Images stay bytes until their step, where each becomes what its likelihood is over."""

import jax
import numpy as np
import pytest
from helpers import assert_mean, run_fit, tiny_vae
from scipy import stats

import vae_jax
from vae_jax.data.image_batches import FORMS

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 2, 1), np.uint8)
BITS = (IMAGES > 127).astype(np.uint8)
RNG = jax.random.key(3)


def batches(form, images, steps, rng=RNG, size=4):
    batch_fn = vae_jax.image_batches(size, form)
    return np.asarray(jax.jit(jax.vmap(batch_fn, (None, None, 0)))(images, rng, np.asarray(steps)))


@pytest.mark.parametrize("form", FORMS)
def test_batches_are_the_rows_of_array_batches(form):
    """float32 [B, H, W, C] of the rows that array_batches takes, so epochs are without repeats."""
    images = BITS if form == "bits" else IMAGES
    rows = jax.jit(jax.vmap(vae_jax.array_batches(4), (None, None, 0)))(images, RNG, np.arange(6))
    rows = np.asarray(rows)
    x = batches(form, images, range(6))
    assert (x.shape, x.dtype) == ((6, 4, 3, 2, 1), np.float32)
    if form == "scaled":
        np.testing.assert_allclose(x, rows / 255.0, rtol=1e-6)
    elif form == "bits":
        np.testing.assert_array_equal(x, rows)
    elif form == "dequantized":
        np.testing.assert_array_equal(np.floor(x * 256), rows)
    else:
        assert set(np.unique(x)) == {0, 1}


def test_noise_is_fresh_at_every_step_and_a_function_of_key_and_step():
    """Another step or key, other noise on the same image; the same step, the same bits."""
    same = np.repeat(IMAGES[:1], 12, axis=0)
    for form in ("dequantized", "binarized"):
        x = batches(form, same, (0, 1, 0, 30), size=12)
        np.testing.assert_array_equal(x[0], x[2])
        assert not np.array_equal(x[0], x[1])
        assert not np.array_equal(x[0], x[3])
        assert not np.array_equal(x[0][0], x[0][1]), "each image has noise of its own"
        other = batches(form, same, (0, 1, 0, 30), jax.random.key(4), 12)
        assert not np.array_equal(other[0], x[0])


def test_dequantized_images_are_uniform_within_their_level():
    """256 x - image is uniform on [0, 1), for the darkest and the brightest byte too."""
    for byte in (0, 128, 255):
        images = np.full((4000,), byte, np.uint8)
        noise = (
            256 * np.asarray(vae_jax.image_values(RNG, images, "dequantized"), np.float64) - byte
        )
        assert 0 <= noise.min() < noise.max() < 1
        assert stats.kstest(noise, "uniform").pvalue > 1e-3


def test_binarized_images_are_one_with_probability_x_over_255():
    """Exactly 0 for black and 1 for white, else the mean is the pixel's value."""
    images = np.tile(np.uint8([0, 1, 100, 254, 255]), (20_000, 1))
    x = np.asarray(vae_jax.image_values(RNG, images, "binarized"))
    assert x[:, 0].max() == 0
    assert x[:, 4].min() == 1
    assert_mean(x[:, 1:4], np.array([1, 100, 254]) / 255)


def test_rows_and_noise_have_keys_of_their_own():
    """The noise of step t is not a function of the key that orders the rows of any epoch."""
    noise = batches("dequantized", IMAGES, (0,), size=12)
    rows = vae_jax.array_batches(12)(IMAGES, RNG, 0)
    for key in (RNG, jax.random.fold_in(RNG, 0), jax.random.fold_in(RNG, 1)):
        assert not np.array_equal(FORMS["dequantized"](key, rows), noise[0])


def test_bytes_are_trained_on_through_fit(tiny):
    """uint8 data is raw material: what is checked is the batch that the likelihood sees."""
    vae = tiny_vae(vae_jax.bernoulli())
    options = {"vae": vae, "loss_fn": vae_jax.make_elbo(vae), "data": IMAGES.reshape(24, 3)}
    run = run_fit(tiny, 3, **options, batch_fn=vae_jax.image_batches(8, "binarized"))
    assert np.isfinite(run.metrics["loss"]).all()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        run_fit(tiny, 3, **options, batch_fn=vae_jax.image_batches(8, "bits"))


def test_what_cannot_be_a_form_or_an_image_is_refused():
    """Unknown form with the nearest one; floats, which are no bytes."""
    with pytest.raises(ValueError, match="did you mean 'binarized'"):
        vae_jax.image_batches(4, "binarised")
    with pytest.raises(ValueError, match="scaled, dequantized, binarized, bits"):
        vae_jax.image_values(RNG, IMAGES, "xyz")
    with pytest.raises(TypeError, match="uint8 until they are used, got float32"):
        vae_jax.image_batches(4, "scaled")(IMAGES.astype(np.float32), RNG, 0)
    with pytest.raises((TypeError, ValueError), match="batch_size"):
        vae_jax.image_batches(0, "scaled")
