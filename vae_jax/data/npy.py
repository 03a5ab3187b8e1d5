"""The header of a .npy file, checked against the file's length; nothing in it is executed."""

import math
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from vae_jax.data.files import reading

NUMBERS = "fiub"
"""Kinds of numpy types that are taken: floats, integers, unsigned integers, booleans."""


class NpyHeader(NamedTuple):
    """What an array in .npy format is: type, shape, order, and the byte at which it begins."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def num_bytes(self) -> int:
        """Bytes of the array, as a Python int: a damaged shape cannot overflow it."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, file: IO[bytes], length: int) -> NpyHeader:
    """The header of the .npy array of `length` bytes at the start of `file`; `path` is for errors.

    Raises:
        ValueError: not .npy, not numbers (objects, that is pickles, are never loaded), or another
            length than the header says.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{path} is .npy of version {version}; 1.0 and 2.0 are read here.")
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects, which could run code when loaded; save numbers instead "
            f"(array.astype(float))."
        )
    if dtype.kind not in NUMBERS:
        raise ValueError(f"{path} holds values of type {dtype}, numbers are needed.")
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise ValueError(f"{path} is damaged: its shape is {shape}.")
    header = NpyHeader(dtype, tuple(map(int, shape)), bool(fortran), file.tell())
    if header.offset + header.num_bytes != length:
        raise ValueError(
            f"{path} is damaged: {dtype}{list(shape)} takes {header.num_bytes} bytes, "
            f"the file has {length - header.offset}."
        )
    return header


def npy_header(path: Path) -> NpyHeader:
    """The header of the .npy file at `path`.

    Raises:
        OSError, ValueError: as `read_header`, always with the path.
    """
    with reading(path), open(path, "rb") as file:
        return read_header(path, file, os.fstat(file.fileno()).st_size)


def map_npy(path: Path) -> np.ndarray[Any, Any]:
    """The array in the .npy file at `path`, read-only and read from the disk when it is looked at.

    Raises:
        OSError, ValueError: as `npy_header`.
    """
    header = npy_header(path)
    if not math.prod(header.shape):
        return np.empty(header.shape, header.dtype)
    order: Any = "F" if header.fortran else "C"
    with reading(path):
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
