"""Image data sets: clear words for what is wrong."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from image_sets import GREY, LABELS, PIXELS, idx, saved, write_mnist
from PIL import Image

import vae_jax
from vae_jax.data.sources import MNIST_FILES, SOURCES, VARIABLE


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("mnits", ValueError, "did you mean mnist"),
        ("zzz", ValueError, "digits, mnist, fashion_mnist, static_binarized_mnist, frey_faces"),
        ("no/folder", FileNotFoundError, "no folder of images"),
        ("none.npy", FileNotFoundError, r"none\.npy"),
        ("notes.txt", ValueError, "neither .npy nor .npz"),
        ("empty", ValueError, r"holds no images \(\.bmp"),
        ("cut.png", ValueError, r"001\.png cannot be read"),
        ("sizes", ValueError, r"000\.png is 5x4x3, .*001\.png is 4x4x3"),
        ("channels", ValueError, r"000\.png is 5x4x3, .*001\.png is 5x4x1"),
        ("floats.npy", TypeError, r"uint8.*got float64.*255 \* x"),
        ("flat.npy", ValueError, r"\[N, H, W\].*got shape \(3, 8\)"),
        ("one.npy", ValueError, "two"),
        ("cut.npy", ValueError, r"cut\.npy cannot be read"),
        ("text.npz", ValueError, r"text\.npz cannot be read"),
        ("objects.npy", ValueError, r"objects\.npy cannot be read.*allow_pickle"),
        ("many.npz", ValueError, "a, b; needed are train and test, or images"),
        ("labels.npz", ValueError, r"labels has shape \(22,\), there are 23 images"),
        ("words.npz", TypeError, "whole numbers"),
        ("shapes.npz", ValueError, r"train holds images \(5, 4, 1\), test \(4, 4, 1\)"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, monkeypatch, name, error, message):
    """The kind of error, with the name of the file and what was found."""
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("words")
    Path("empty").mkdir()
    (saved(PIXELS[:3], Path("cut.png")) / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut")
    Image.fromarray(PIXELS[1, :4]).save(saved(PIXELS[:3], Path("sizes")) / "001.png")
    Image.fromarray(GREY[1]).save(saved(PIXELS[:3], Path("channels")) / "001.png")
    np.save("floats.npy", GREY / 255)
    np.save("flat.npy", GREY[:3, :2].reshape(3, 8))
    np.save("one.npy", GREY[:1])
    np.save("cut.npy", GREY)
    Path("cut.npy").write_bytes(Path("cut.npy").read_bytes()[:300])
    Path("text.npz").write_text("words")
    np.save("objects.npy", np.array([print]), allow_pickle=True)
    np.savez("many.npz", a=GREY, b=GREY)
    np.savez("labels.npz", images=GREY, labels=LABELS[1:])
    np.savez("words.npz", images=GREY, labels=LABELS.astype(str))
    np.savez("shapes.npz", train=GREY, test=GREY[:, :4])
    with pytest.raises(error, match=message):
        vae_jax.load_images(name)


def test_labels_of_another_length_are_refused(tmp_path):
    """labels= is for sources that have none, one for each image."""
    folder = saved(GREY, tmp_path / "set")
    with pytest.raises(ValueError, match=r"labels has shape \(9,\), there are 23 images"):
        vae_jax.load_images(folder, labels=LABELS[:9])
    labels = vae_jax.load_images(folder, labels=LABELS).test_labels
    np.testing.assert_array_equal(labels, LABELS[[2, 12, 22]])


@pytest.mark.parametrize(
    "raw",
    [b"", b"words", gzip.compress(b"words"), idx(GREY)[:-30],
     gzip.compress(gzip.decompress(idx(GREY))[:-1])],
    ids=["empty", "words", "packed words", "cut", "cut before packing"],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, raw):
    """Empty, of another kind, cut in the archive, cut in the array: ValueError with its path."""
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / MNIST_FILES[0]).write_bytes(raw)
    with pytest.raises(ValueError, match=rf"{MNIST_FILES[0]} cannot be read.*delete it"):
        vae_jax.load_images("mnist", tmp_path)


def test_missing_files_are_listed(tmp_path):
    """FileNotFoundError with folder, addresses and the way to name another directory."""
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / MNIST_FILES[2]).unlink()
    with pytest.raises(FileNotFoundError) as error:
        vae_jax.load_images("mnist", tmp_path, download=False)
    assert str(tmp_path / "mnist") in str(error.value)
    assert SOURCES["mnist"].home + MNIST_FILES[2] in str(error.value)
    assert MNIST_FILES[0] not in str(error.value)
    assert VARIABLE in str(error.value)


def test_other_faces_are_not_taken_for_the_frey_faces(tmp_path):
    """The pixels are compared with the published ones."""
    (tmp_path / "freyfaces").mkdir()
    np.savez(tmp_path / "freyfaces/freyfaces_uint8.npz", x=np.zeros((1965, 28, 20), np.uint8))
    with pytest.raises(ValueError, match="not the 1965 published"):
        vae_jax.load_images("frey_faces", tmp_path)
