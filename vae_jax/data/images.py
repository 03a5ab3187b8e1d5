"""Image data sets by name, from a folder of images, or from a file of arrays."""

import difflib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vae_jax.checks import check_count
from vae_jax.data.image_files import Numbers, as_images, read_arrays, read_folder, reading
from vae_jax.data.sources import SOURCES, Parts, load_source


class Images(NamedTuple):
    """An image data set: train and test uint8 [N, H, W, C], labels int32 [N] or None."""

    name: str
    train: Numbers
    test: Numbers
    train_labels: Numbers | None = None
    test_labels: Numbers | None = None


def load_images(
    name_or_path: str | Path,
    data_dir: str | Path | None = None,
    *,
    labels: Numbers | None = None,
    test_every: int = 10,
    download: bool = True,
) -> Images:
    """The data set of this name (`SOURCES`, or "digits"), folder of images, .npy or .npz file.

    A named one is looked for in `data_dir`, else in the directory that the environment variable
    VAE_JAX_DATA names, else in ~/.cache/vae_jax, and downloaded to there if it is missing and
    `download` allows it. An .npz holds `train` and `test`, or one array of `images`, and may hold
    `train_labels` and `test_labels`, or `labels`. Where a source has no test set, every
    `test_every`-th image, counted from the last, becomes one.

    "static_binarized_mnist" is bits, 0 and 1, with its validation set as the last 10,000 of train;
    "digits" is scaled from 0 .. 16 to 0 .. 255. Frey faces are frames of a film in their order, so
    that a test image has near copies in train.

    Raises:
        ValueError: unknown name, damaged file, images that do not fit together.
        TypeError: arrays that are not bytes; labels that are not whole numbers.
        FileNotFoundError: the files are not there and cannot be downloaded; it lists them.
        ImportError: an optional package is missing.
    """
    check_count("test_every", test_every, 2)
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name == "digits":
        parts = _digits()
    elif name in SOURCES:
        parts = load_source(name, data_dir, download)
    elif path.is_dir():
        images, classes = read_folder(path)
        parts = {"images": images} | ({} if classes is None else {"labels": classes})
    elif path.suffix in (".npy", ".npz") and path.is_file():
        parts = reading(path, read_arrays)
    else:
        raise _unknown(name, path)
    if labels is not None:
        if "test" in parts:
            raise ValueError(f"{name} has a test set of its own; its labels come with it.")
        parts["labels"] = np.asarray(labels)
    return _assembled(name if name in SOURCES else path.stem, parts, test_every)


def _assembled(name: str, parts: Parts, test_every: int) -> Images:
    if "train" in parts and "test" in parts:
        train, test = (as_images(f"{name}: {part}", parts[part]) for part in ("train", "test"))
        if train.shape[1:] != test.shape[1:]:
            raise ValueError(
                f"{name}: train holds images {train.shape[1:]}, test {test.shape[1:]}."
            )
        pairs = [
            _labels(f"{part}_labels", parts.get(f"{part}_labels"), len(images))
            for part, images in (("train", train), ("test", test))
        ]
        return Images(name, train, test, *pairs)
    others = [part for part in parts if part != "labels"]
    if "images" not in parts and len(others) != 1:
        raise ValueError(
            f"{name} holds {', '.join(parts) or 'nothing'}; needed are train and test, or images."
        )
    images = as_images(name, parts["images" if "images" in parts else others[0]])
    labels = _labels("labels", parts.get("labels"), len(images))
    if len(images) < 2:
        raise ValueError(f"{name} holds one image; a training and a test set need two.")
    testing = np.arange(len(images))[::-1] % test_every == 0
    if labels is None:
        return Images(name, images[~testing], images[testing])
    return Images(name, images[~testing], images[testing], labels[~testing], labels[testing])


def _labels(name: str, labels: Numbers | None, num_images: int) -> Numbers | None:
    if labels is None:
        return None
    if labels.shape != (num_images,):
        raise ValueError(f"{name} has shape {labels.shape}, there are {num_images} images.")
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must be whole numbers, got {labels.dtype}.")
    return labels.astype(np.int32)


def _unknown(name: str, path: Path) -> Exception:
    if path.suffix in (".npy", ".npz") or len(path.parts) > 1:
        return FileNotFoundError(f"There is no folder of images and no .npy or .npz file {path}.")
    if path.exists():
        return ValueError(f"{path} is no folder and ends in neither .npy nor .npz.")
    known = ("digits", *SOURCES)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
    return ValueError(f"There is no data set or path {name!r}; {hint}")


def _digits() -> Parts:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits needs scikit-learn: pip install 'vae_jax[images]'.") from error
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return {"images": images, "labels": digits.target}
