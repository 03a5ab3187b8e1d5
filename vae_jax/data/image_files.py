"""Images from files, as uint8 [N, H, W, C]. Nothing that a file holds is executed."""

import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Numbers: TypeAlias = np.ndarray[Any, Any]

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Files of a folder that are taken for images."""

DAMAGE = (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def reading(path: Path, read: Callable[[Path], Any]) -> Any:
    """read(path), with an error that names the file.

    Raises:
        ValueError: the file is damaged or something else than its name says.
    """
    try:
        return read(path)
    except DAMAGE as error:
        raise ValueError(
            f"{path} cannot be read ({error or type(error).__name__}): damaged, or not what its "
            f"name says. If it was downloaded, delete it and load again."
        ) from error


def read_amat(path: Path) -> Numbers:
    """The 28x28 bits of an .amat file, lines of 784 times "0 " or "1 ": uint8 [N, 28, 28]."""
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    bits = raw[(raw == 48) | (raw == 49)] - 48
    if 2 * bits.size != raw.size:
        raise ValueError("something else than bits between spaces")
    return _shaped(bits, (-1, 28, 28))


def read_packed(path: Path) -> dict[str, Numbers]:
    """The 28x28 bits of an .npz whose rows are packed eight to a byte: {key: [N, 28, 28]}."""
    with np.load(path, allow_pickle=False) as file:
        rows = {name: np.unpackbits(file[name], axis=-1)[:, :784] for name in file.files}
    return {name: _shaped(bits, (-1, 28, 28)) for name, bits in rows.items()}


def read_mat(path: Path) -> Numbers:
    """The Frey faces of their MATLAB file, whose columns are images: uint8 [1965, 28, 20]."""
    from scipy.io import loadmat

    return _shaped(np.ascontiguousarray(loadmat(path)["ff"].T), (1965, 28, 20))


def read_cifar(raw: bytes) -> tuple[Numbers, Numbers]:
    """Images [N, 32, 32, 3] and labels [N] of records of a label and three colour planes."""
    records = _shaped(np.frombuffer(raw, np.uint8), (-1, 1 + 3 * 32 * 32))
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].copy()


def read_members(path: Path, names: list[str]) -> list[bytes]:
    """The contents of these files of a .tar.gz, in memory: nothing is unpacked to disk."""
    with tarfile.open(path, "r:gz") as archive:
        found = {Path(member.name).name: member for member in archive if member.isfile()}
        if missing := [name for name in names if name not in found]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        files = [archive.extractfile(found[name]) for name in names]
        return [file.read() for file in files if file is not None]


def read_arrays(path: Path) -> dict[str, Numbers]:
    """The arrays of an .npz by name, or the one of an .npy under the name "images"."""
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return {"images": content}
    with content:
        return {name: content[name] for name in content.files}


def read_folder(folder: Path) -> tuple[Numbers, Numbers | None]:
    """All images below `folder` in the order of their paths: [N, H, W, C], and labels or None.

    Grey images have one channel, others three, or four if they are partly transparent. If every
    image lies in a folder of its own class, its label is that folder's place in the alphabet.

    Raises:
        ValueError: there is no image, one cannot be read, or two differ in size or channels.
    """
    below = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    shown = (p for p in below if not any(s.startswith(".") for s in p.relative_to(folder).parts))
    paths = sorted((path for path in shown if path.is_file()), key=lambda p: p.parts)
    if not paths:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}).")
    first = reading(paths[0], _read_image)
    images = np.empty((len(paths), *first.shape), np.uint8)
    for image, path in zip(images, paths, strict=True):
        pixels = reading(path, _read_image)
        if pixels.shape != first.shape:
            raise ValueError(
                f"All images must have one size and number of channels: {paths[0]} is "
                f"{_size(first)}, {path} is {_size(pixels)}. Resize or convert them first."
            )
        image[...] = pixels
    classes = [path.relative_to(folder).parts[0] for path in paths]
    if any(path.parent == folder for path in paths) or len(set(classes)) < 2:
        return images, None
    return images, np.unique(classes, return_inverse=True)[1].astype(np.int32)


def as_images(name: str, images: Numbers) -> Numbers:
    """`images` as uint8 [N, H, W, C]; [N, H, W] gains a channel, and bool becomes 0 and 1.

    Raises:
        TypeError: they hold something else than bytes.
        ValueError: another number of axes, or no pixels.
    """
    if images.dtype not in (np.uint8, np.bool_):
        raise TypeError(
            f"{name} must hold uint8 (0 to 255) or bool, got {images.dtype}; for images in [0, 1]: "
            f"np.round(255 * x).astype('uint8')."
        )
    if images.ndim not in (3, 4) or images.size == 0:
        raise ValueError(f"{name} must be [N, H, W] or [N, H, W, C], got shape {images.shape}.")
    return (images if images.ndim == 4 else images[..., None]).astype(np.uint8, copy=False)


def _read_image(path: Path) -> Numbers:
    from PIL import Image

    with Image.open(path) as image:
        transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
        mode = "L" if image.mode in ("1", "L") else "RGBA" if transparent else "RGB"
        pixels = np.asarray(image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _size(pixels: Numbers) -> str:
    return "x".join(map(str, pixels.shape))


def _shaped(flat: Numbers, shape: Any) -> Numbers:
    """`flat` in this shape; a length that does not fit is the sign of a damaged file."""
    known = math.prod(n for n in shape if n >= 0)
    if flat.size == 0 or (flat.size % known if -1 in shape else flat.size != known):
        raise ValueError(f"{flat.size} bytes do not make an array of shape {tuple(shape)}")
    return flat.reshape(shape)
