"""The idx format of MNIST: a type, a shape, and the numbers, big end first."""

import gzip
import math
import os
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

from vae_jax.data.files import PathLike, reading

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of a file -> what its numbers are."""

PIECE = 2**24
"""Bytes read at a time: a header that claims too much costs no more memory than the file has."""


def read_idx(path: PathLike) -> np.ndarray[Any, Any]:
    """The array in an idx file, in its own shape and type; gzip is seen by its first two bytes.

    The file is `00 00 type ndim`, then ndim sizes as unsigned 32-bit numbers, then the values in
    row order, all big-endian; the result has the machine's own byte order.

    Raises:
        OSError: the file cannot be opened, or its compression is damaged.
        ValueError: it is not idx, or shorter or longer than its header says.

    Source: yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    path = Path(os.fspath(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file.")
    with reading(path), open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            return _read(path, raw)
        with gzip.GzipFile(fileobj=raw) as file:
            return _read(path, file)


def _read(path: Path, file: IO[bytes] | gzip.GzipFile) -> np.ndarray[Any, Any]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
        raise ValueError(f"{path} is not an idx file: it begins with {head!r}.")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise ValueError(f"{path} is cut short: its header is incomplete.")
    shape = struct.unpack(f">{head[3]}I", sizes)
    dtype = np.dtype(TYPES[head[2]])
    wanted, content = math.prod(shape) * dtype.itemsize, bytearray()
    while len(content) <= wanted and (piece := file.read(min(PIECE, wanted + 1 - len(content)))):
        content += piece
    if len(content) != wanted:
        more = f"only {len(content)}" if len(content) < wanted else "more"
        raise ValueError(f"{path} should hold {wanted} bytes after its header, it has {more}.")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
