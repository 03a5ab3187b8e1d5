"""Rows of many .npy files as one long array that is never in memory: they are read by number."""

import io
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.files import Paths, find_files, reading
from vae_jax.data.npy import npy_header


class Shards(NamedTuple):
    """The files, where in each the rows begin, and which numbers its rows have."""

    paths: tuple[Path, ...]
    offsets: tuple[int, ...]
    """Bytes before the first row of each file."""
    starts: np.ndarray[Any, Any]
    """File i holds the rows starts[i] to starts[i + 1]: [files + 1]."""
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_rows(self) -> int:
        return int(self.starts[-1])

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row_shape, dtype=object)) * self.dtype.itemsize


def open_shards(paths: Paths) -> Shards:
    """The rows of .npy files of one row shape and type, in the files' order (`find_files`).

    Only headers are read.

    Raises:
        OSError, ValueError: a file is missing, damaged, without rows of numbers, in Fortran order,
            or does not agree with the first.
    """
    files = find_files(paths, (".npy",))
    headers = [npy_header(path) for path in files]
    first = headers[0]
    for path, header in zip(files, headers, strict=True):
        if not header.shape or (header.fortran and len(header.shape) > 1):
            raise ValueError(
                f"{path} has no rows one after another: shape {list(header.shape)}, Fortran order "
                f"{header.fortran}; save np.ascontiguousarray(rows)."
            )
        if (header.shape[1:], header.dtype) != (first.shape[1:], first.dtype):
            raise ValueError(
                f"{path} has rows {header.dtype}{list(header.shape[1:])}, {files[0]} has "
                f"{first.dtype}{list(first.shape[1:])}."
            )
    starts = np.cumsum([0, *(header.shape[0] for header in headers)])
    offsets = tuple(header.offset for header in headers)
    shards = Shards(files, offsets, starts, first.shape[1:], first.dtype)
    if not shards.num_rows or not shards.row_bytes:
        raise ValueError(f"{files[0]} and the other files have no rows or empty ones.")
    return shards


def read_rows(shards: Shards, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rows of these numbers, which must increase: [n, ...] in the files' own type.

    Neighbours are read at once and straight into the result: nothing is mapped or buffered, so the
    memory in use is the result's, whatever the size of the files. No file stays open.

    Raises:
        OSError, ValueError: a file is gone or shorter than when it was opened.
    """
    result = np.empty((len(rows), *shards.row_shape), shards.dtype)
    content: Any = result.reshape(-1).view(np.uint8)
    buffer = memoryview(content)
    cuts = np.searchsorted(rows, shards.starts)
    for file, (begin, end) in enumerate(itertools.pairwise(cuts)):
        if begin == end:
            continue
        local = rows[begin:end] - shards.starts[file]
        edges = np.flatnonzero(np.diff(local) != 1) + 1
        path, size = shards.paths[file], shards.row_bytes
        with reading(path), open(path, "rb", buffering=0) as raw:
            for low, high in zip([0, *edges], [*edges, len(local)], strict=True):
                into = buffer[(begin + low) * size : (begin + high) * size]
                raw.seek(shards.offsets[file] + int(local[low]) * size)
                _fill(path, raw, into)
    return result


def _fill(path: Path, file: io.FileIO, into: memoryview) -> None:
    """Fills `into` from here on; a single read may give less than was asked for."""
    while len(into):
        got = file.readinto(into)
        if not got:
            raise ValueError(f"{path} became shorter while it was read.")
        into = into[got:]
