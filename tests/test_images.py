"""Image data sets: the same images from any kind of source."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_sets import GREY, LABELS, PIXELS, saved, write_mnist
from PIL import Image

import vae_jax
from vae_jax.data.sources import CIFAR, CIFAR_BATCHES, SOURCES, VARIABLE

DATA = os.environ.get(VARIABLE, "")


@pytest.mark.parametrize("images", [PIXELS, GREY], ids=["colour", "grey"])
def test_folder_npy_and_npz_of_the_same_images_are_equal(tmp_path, images):
    """uint8 [N, H, W, C], bit for bit the same, split the same way."""
    np.save(tmp_path / "set.npy", images)
    np.savez(tmp_path / "set.npz", whatever=images)
    sources = [saved(images, tmp_path / "set"), tmp_path / "set.npy", tmp_path / "set.npz"]
    folder, *others = (vae_jax.load_images(source) for source in sources)
    assert folder.name == "set"
    assert folder.train_labels is None
    assert (folder.train.shape[1:], folder.train.dtype) == ((5, 4, images[0, 0, 0].size), np.uint8)
    for other in others:
        np.testing.assert_array_equal(other.train, folder.train)
        np.testing.assert_array_equal(other.test, folder.test)


def test_every_tenth_image_from_the_last_is_for_testing(tmp_path):
    """23 images: rows 2, 12, 22 are test, the 20 others train, in their order, with labels."""
    np.savez(tmp_path / "set.npz", images=GREY, labels=LABELS)
    data = vae_jax.load_images(tmp_path / "set.npz")
    np.testing.assert_array_equal(data.test[..., 0], GREY[[2, 12, 22]])
    np.testing.assert_array_equal(data.test_labels, LABELS[[2, 12, 22]])
    np.testing.assert_array_equal(data.train[..., 0], np.delete(GREY, [2, 12, 22], axis=0))
    np.testing.assert_array_equal(data.train_labels, np.delete(LABELS, [2, 12, 22]))
    assert len(vae_jax.load_images(tmp_path / "set.npz", test_every=2).test) == 12


def test_an_npz_may_bring_its_own_test_set(tmp_path):
    """train, test and their labels are taken as they are; bool becomes 0 and 1."""
    np.savez(
        tmp_path / "bits.npz", train=GREY > 99, test=GREY[:5] > 99,
        train_labels=LABELS, test_labels=LABELS[:5],
    )  # fmt: skip
    data = vae_jax.load_images(tmp_path / "bits.npz")
    np.testing.assert_array_equal(data.train[..., 0], (GREY > 99).astype(np.uint8))
    np.testing.assert_array_equal(data.test, data.train[:5])
    np.testing.assert_array_equal(data.train_labels, LABELS)
    with pytest.raises(ValueError, match="test set of its own"):
        vae_jax.load_images(tmp_path / "bits.npz", labels=LABELS)


def test_folders_of_classes_give_labels(tmp_path):
    """Images below a/, b/, c/ have labels 0, 1, 2; with an image beside them there are none."""
    for label, name in enumerate(("b", "a", "c")):
        saved(GREY[label::3], tmp_path / name, ".bmp")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    saved(GREY[:1], tmp_path / ".thumbnails")
    data = vae_jax.load_images(tmp_path, test_every=8)
    labels = np.concatenate([data.train_labels, data.test_labels])
    np.testing.assert_array_equal(np.bincount(labels), [8, 8, 7])
    saved(GREY[:1], tmp_path)
    assert vae_jax.load_images(tmp_path).train_labels is None


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4), ("LA", 4)]
)
def test_channels_follow_the_kind_of_image(tmp_path, mode, channels):
    """Grey has one channel, colour three, transparency makes it four."""
    for name in ("0.png", "1.png"):
        Image.fromarray(PIXELS[0]).convert(mode).save(tmp_path / name)
    assert vae_jax.load_images(tmp_path).train.shape == (1, 5, 4, channels)


def test_the_digits_are_at_hand():
    """1797 digits of 8x8, scaled to 0 .. 255, with labels 0 .. 9."""
    data = vae_jax.load_images("digits")
    assert data.train.shape[1:] == data.test.shape[1:] == (8, 8, 1)
    assert len(data.train) + len(data.test) == 1797
    assert data.train.dtype == np.uint8
    assert (data.train.min(), data.train.max(), len(np.unique(data.train))) == (0, 255, 17)
    assert set(data.train_labels) == set(data.test_labels) == set(range(10))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read(tmp_path, monkeypatch, name):
    """The data directory comes from the argument, or from VAE_JAX_DATA."""
    write_mnist(tmp_path / name)
    data = vae_jax.load_images(name, tmp_path)
    np.testing.assert_array_equal(data.train[..., 0], GREY)
    np.testing.assert_array_equal(data.test_labels, LABELS[:4])
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    np.testing.assert_array_equal(vae_jax.load_images(name).train, data.train)


def test_static_bits_are_read_from_text_and_packed(tmp_path):
    """Train and validation together, then test; the .amat files and the packed .npz agree."""
    parts = {n: np.random.default_rng(k).integers(0, 2, (k, 784), np.uint8) for n, k in
             (("train", 4), ("valid", 3), ("test", 2))}  # fmt: skip
    for folder in ("text", "packed"):
        (tmp_path / folder / "binarized_mnist").mkdir(parents=True)
    for name, bits in parts.items():
        np.savetxt(tmp_path / f"text/binarized_mnist/binarized_mnist_{name}.amat", bits, "%d")
    packed = {name: np.packbits(bits, axis=-1) for name, bits in parts.items()}
    np.savez(tmp_path / "packed/binarized_mnist/binarized_mnist_packed.npz", **packed)
    for folder in ("text", "packed"):
        data = vae_jax.load_images("static_binarized_mnist", tmp_path / folder)
        together = np.concatenate([parts["train"], parts["valid"]]).reshape(7, 28, 28, 1)
        np.testing.assert_array_equal(data.train, together)
        np.testing.assert_array_equal(data.test, parts["test"].reshape(2, 28, 28, 1))


def cifar_batch(seed):
    images = np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), np.uint8)
    labels = np.uint8([seed, 1, 9])
    planes = images.transpose(0, 3, 1, 2).reshape(3, -1)
    return images, labels, np.concatenate([labels[:, None], planes], axis=1).tobytes()


def test_cifar_is_read_from_the_archive_and_from_its_files(tmp_path):
    """Label and three planes a record; of the archive only the six members are read."""
    (tmp_path / "packed/cifar10").mkdir(parents=True)
    (tmp_path / "files/cifar10/cifar-10-batches-bin").mkdir(parents=True)
    batches = [cifar_batch(seed) for seed in range(6)]
    with tarfile.open(tmp_path / "packed/cifar10" / CIFAR, "w:gz") as archive:
        for name, (_, _, raw) in zip(CIFAR_BATCHES, batches, strict=True):
            (tmp_path / "files/cifar10" / name).write_bytes(raw)
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
        archive.addfile(tarfile.TarInfo("../outside"))
    for folder in ("packed", "files"):
        data = vae_jax.load_images("cifar10", tmp_path / folder)
        np.testing.assert_array_equal(data.train, np.concatenate([b[0] for b in batches[:5]]))
        np.testing.assert_array_equal(
            data.train_labels, np.concatenate([b[1] for b in batches[:5]])
        )
        np.testing.assert_array_equal(data.test, batches[5][0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["files", "packed"]


@pytest.mark.skipif(not DATA, reason=f"{VARIABLE} names no data directory")
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", (60_000, 28, 28, 1), 10_000),
        ("static_binarized_mnist", (60_000, 28, 28, 1), 10_000),
        ("frey_faces", (1768, 28, 20, 1), 197),
    ],
)
def test_the_public_files_are_read(name, train, test):
    """Their sizes; the mean bit of the static MNIST is its pixel mean."""
    if not (Path(DATA) / SOURCES[name].folder).is_dir():
        pytest.skip(f"{VARIABLE} has no {SOURCES[name].folder}")
    data = vae_jax.load_images(name, download=False)
    assert (data.train.shape, len(data.test)) == (train, test)
    if name == "mnist":
        np.testing.assert_array_equal(data.test_labels[:5], [7, 2, 1, 0, 4])
        np.testing.assert_array_equal(np.bincount(data.train_labels)[:3], [5923, 6742, 5958])
    if name == "static_binarized_mnist":
        assert set(np.unique(data.train)) == {0, 1}
