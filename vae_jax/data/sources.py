"""Public image data sets: where they come from, and how their files are read."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.data.download import download as fetch
from vae_jax.data.idx import read_idx
from vae_jax.data.image_files import (
    Numbers,
    read_amat,
    read_arrays,
    read_cifar,
    read_mat,
    read_members,
    read_packed,
    reading,
)

VARIABLE = "VAE_JAX_DATA"
"""The environment variable that names the data directory."""

FREY_SHA256 = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"
"""Of the pixels: the file's own checksum is not published."""

Parts = dict[str, Numbers]
"""Arrays by name: images or train, test, labels or train_labels, test_labels."""


class Source(NamedTuple):
    """Where a public data set comes from."""

    folder: str
    """Its place in the data directory."""
    home: str
    files: dict[str, str | None]
    """What the home offers: name -> checksum."""
    local: tuple[str, ...]
    """Another form of the same data, used instead where it lies in the folder."""
    read: Callable[[Path], Parts]


def data_directory(data_dir: str | Path | None = None) -> Path:
    """`data_dir`, else what VAE_JAX_DATA names, else ~/.cache/vae_jax."""
    return Path(data_dir or os.environ.get(VARIABLE) or "~/.cache/vae_jax").expanduser()


def load_source(name: str, data_dir: str | Path | None, download: bool) -> Parts:
    """The arrays of a data set of `SOURCES`, downloaded first where allowed and needed.

    Raises:
        ValueError: a file is damaged, or has another checksum than it should have.
        FileNotFoundError: files are missing and cannot be downloaded; it lists them.
    """
    source = SOURCES[name]
    folder = data_directory(data_dir) / source.folder
    if not (source.local and all((folder / file).is_file() for file in source.local)):
        missing = [file for file in source.files if not (folder / file).is_file()]
        problem: Exception | None = None
        try:
            for file in missing if download else ():
                fetch(source.home + file, folder / file, source.files[file])
        except (OSError, ImportError) as error:
            problem = error
        missing = [file for file in missing if not (folder / file).is_file()]
        if missing:
            lines = "".join(f"\n  {source.home}{file}" for file in missing)
            why = f" ({problem})" if problem else ""
            raise FileNotFoundError(
                f"{name} is not in {folder}{why}. Put there:{lines}\n"
                f"or name another data directory: data_dir=..., or {VARIABLE}."
            ) from problem
    return source.read(folder)


def _read_mnist(folder: Path) -> Parts:
    names = ("train", "train_labels", "test", "test_labels")
    files = zip(names, MNIST_FILES, strict=True)
    return {name: reading(folder / file, read_idx) for name, file in files}


def _read_static(folder: Path) -> Parts:
    packed = folder / PACKED
    if packed.is_file():
        parts = reading(packed, read_packed)
    else:
        files = {p: folder / f"binarized_mnist_{p}.amat" for p in ("train", "valid", "test")}
        parts = {part: reading(path, read_amat) for part, path in files.items()}
    return {"train": np.concatenate([parts["train"], parts["valid"]]), "test": parts["test"]}


def _read_frey(folder: Path) -> Parts:
    if (folder / FREY).is_file():
        images = reading(folder / FREY, read_arrays)["x"]
    else:
        images = reading(folder / "frey_rawface.mat", read_mat)
    if hashlib.sha256(images.tobytes()).hexdigest() != FREY_SHA256:
        raise ValueError(f"The Frey faces in {folder} are not the 1965 published images.")
    return {"images": images}


def _read_cifar10(folder: Path) -> Parts:
    unpacked = folder / CIFAR_BATCHES[0]
    if unpacked.is_file():
        raw = [(folder / batch).read_bytes() for batch in CIFAR_BATCHES]
    else:
        names = [Path(batch).name for batch in CIFAR_BATCHES]
        raw = reading(folder / CIFAR, lambda path: read_members(path, names))
    sets = reading(folder, lambda _: [read_cifar(batch) for batch in raw])
    train, labels = zip(*sets[:-1], strict=True)
    parts = {"train": np.concatenate(train), "train_labels": np.concatenate(labels)}
    return parts | {"test": sets[-1][0], "test_labels": sets[-1][1]}


MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MNIST_MD5 = (
    "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "md5:9fb629c4189551a2d022fa330f9573f3",
    "md5:ec29112dd5afa0611ce80d1b7f02629c",
)
FASHION_MD5 = (
    "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "md5:25c81989df183df01b3e8a0aad5dffbe",
    "md5:bef4ecab320f06d8554ea6380940ec79",
    "md5:bb300cfdad3c16e7a12a480ee83cd310",
)
PACKED, FREY, CIFAR = "binarized_mnist_packed.npz", "freyfaces_uint8.npz", "cifar-10-binary.tar.gz"
CIFAR_BATCHES = tuple(
    f"cifar-10-batches-bin/{name}.bin"
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)

SOURCES: dict[str, Source] = {
    "mnist": Source(
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        dict(zip(MNIST_FILES, MNIST_MD5, strict=True)),
        (),
        _read_mnist,
    ),
    "fashion_mnist": Source(
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        dict(zip(MNIST_FILES, FASHION_MD5, strict=True)),
        (),
        _read_mnist,
    ),
    "static_binarized_mnist": Source(
        "binarized_mnist",
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        {
            "binarized_mnist_train.amat": "md5:db28b1a6ae0fe70cbd3da91acf46e477",
            "binarized_mnist_valid.amat": "md5:bf37822a04e94123630de6a7dfd9c9ef",
            "binarized_mnist_test.amat": "md5:14e41ae11040adba6ab8cb291eda0dd8",
        },
        (PACKED,),
        _read_static,
    ),
    "frey_faces": Source(
        "freyfaces",
        "https://cs.nyu.edu/~roweis/data/",
        {"frey_rawface.mat": None},
        (FREY,),
        _read_frey,
    ),
    "cifar10": Source(
        "cifar10",
        "https://www.cs.toronto.edu/~kriz/",
        {CIFAR: "md5:c32a1d4ab5d03f1284b67883e8d87530"},
        CIFAR_BATCHES,
        _read_cifar10,
    ),
}
"""Public data sets by name."""
