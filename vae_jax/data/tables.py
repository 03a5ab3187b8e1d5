"""Tables of numbers from files: one float32 array, its columns' names, and what was found."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vae_jax.data.csv_files import CsvOptions, read_csv
from vae_jax.data.files import Paths, find_files, reading, some
from vae_jax.data.npy import map_npy, read_header
from vae_jax.data.parquet_files import read_parquet

Rows: TypeAlias = np.ndarray[Any, Any]

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet")
BLOCK = 2**16
"""Rows looked at together."""
SHOWN = 5
"""Rows named for each column that does not fit."""


class Table(NamedTuple):
    """rows float32 [N, D], the names of the D columns, a report of types and shapes in words."""

    rows: Rows
    names: tuple[str, ...]
    report: str


class _Part(NamedTuple):
    """What is in one file: values [n, D] in their own type, and the columns' names."""

    path: Path
    values: Rows
    names: tuple[str, ...]


def load_table(
    paths: Paths,
    *,
    columns: Sequence[str] | None = None,
    key: str | None = None,
    csv: CsvOptions | None = None,
    drop_bad_rows: bool = False,
) -> Table:
    """The rows of .npy, .npz, .csv, .tsv or .parquet files, one file after another.

    `paths` is a file, a folder, a pattern or a list (`find_files`). `columns` chooses some by name;
    columns of arrays are called x0, x1, ... `key` names the array of an .npz file with several.
    A single float32 .npy file stays on the disk as a read-only memory map; everything else is
    read into memory. For more than memory holds see `stream_files`.

    Rows with NaN or infinite values (as float32) are refused, or left out with `drop_bad_rows`;
    the report says how many, and which columns are constant.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged or holds no numbers; columns do not agree between files; NaN
            or infinite values, with their columns and first rows.
        ModuleNotFoundError: a .parquet file without pyarrow, with how to install it.
    """
    files = find_files(paths, SUFFIXES)
    if columns is not None and (isinstance(columns, str) or not columns):
        raise ValueError(f"columns must be a list of at least one name, got {columns!r}.")
    parts = [_read(path, columns, key, csv) for path in files]
    names = parts[0].names
    for part in parts:
        if part.names != names:
            raise ValueError(
                f"{part.path} has other columns than {files[0]}: {len(part.names)} "
                f"({some(part.names)}) against {len(names)} ({some(names)})."
            )
    kept = [_finite(part, drop_bad_rows) for part in parts]
    rows = kept[0] if len(kept) == 1 else np.concatenate(kept)
    if not len(rows):
        raise ValueError(f"There are no rows (left) in {some(files)}.")
    return Table(rows, names, _report(parts, rows, names))


def _read(
    path: Path, columns: Sequence[str] | None, key: str | None, csv: CsvOptions | None
) -> _Part:
    """What is in one file, before its values are looked at."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        options = csv or CsvOptions("\t" if suffix == ".tsv" else ",")
        return _Part(path, *read_csv(path, columns, options))
    if suffix == ".parquet":
        return _Part(path, *read_parquet(path, columns))
    values = map_npy(path) if suffix == ".npy" else _read_npz(path, key)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"{path} has shape {list(values.shape)}; a table is [N, D].")
    names = tuple(f"x{place}" for place in range(values.shape[1]))
    if columns is None:
        return _Part(path, values, names)
    places = {name: place for place, name in enumerate(names)}
    if missing := [name for name in columns if name not in places]:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {some(names)}.")
    return _Part(path, values[:, [places[name] for name in columns]], tuple(columns))


def _read_npz(path: Path, key: str | None) -> Rows:
    """One array of an .npz file, read after its header was held against its length."""
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if key is None and len(members) != 1:
            raise ValueError(f"{path} holds {some(list(members))}: choose one with key=...")
        if key is not None and key not in members:
            raise ValueError(f"{path} has no array {key!r}; it has {some(list(members))}.")
        info = archive.getinfo(members[next(iter(members)) if key is None else key])
        with archive.open(info) as file:
            header = read_header(path, file, info.file_size)
            content = file.read(header.num_bytes)
            if len(content) != header.num_bytes or file.read(1):
                raise ValueError(f"{path} is damaged: {info.filename} is not as long as it says.")
        order: Any = "F" if header.fortran else "C"
        return np.frombuffer(content, header.dtype).reshape(header.shape, order=order)


def _finite(part: _Part, drop: bool) -> Rows:
    """The values as float32, all finite; the same memory if they are float32 already.

    Raises:
        ValueError: some are NaN or infinite and not to be dropped.
    """
    blocks = range(0, len(part.values), BLOCK)
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
        found = [_bad(part.values[start : start + BLOCK], start) for start in blocks]
        rows = np.concatenate([rows for rows, _ in found]) if found else np.empty(0, int)
        if rows.size and not drop:
            columns = np.concatenate([columns for _, columns in found])
            raise ValueError(_complaint(part, rows, columns))
        if part.values.dtype == np.float32 and part.values.flags.c_contiguous and not rows.size:
            return part.values
        return np.delete(np.asarray(part.values, np.float32), np.unique(rows), axis=0)


def _bad(block: Rows, start: int) -> tuple[Rows, Rows]:
    """Row and column of every value that is not finite as float32."""
    rows, columns = np.nonzero(~np.isfinite(np.asarray(block, np.float32)))
    return rows + start, columns


def _complaint(part: _Part, rows: Rows, columns: Rows) -> str:
    """Which columns hold what float32 cannot, and where first."""
    places = np.unique(columns)
    told = []
    for place in places[:SHOWN]:
        where = rows[columns == place]
        kind = "NaN" if np.isnan(part.values[where[0], place]) else "infinite"
        told.append(f"{part.names[place]!r} ({kind}, {len(where)} rows: {some(where, SHOWN)})")
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return (
        f"{part.path} holds NaN or infinite values (as float32), rows counted from 0: columns "
        f"{', '.join(told)}{more}. Fill them, choose other columns, or pass drop_bad_rows=True."
    )


def _report(parts: Sequence[_Part], rows: Rows, names: tuple[str, ...]) -> str:
    """Files, shapes, types, what was left out, range, constant columns."""
    total = sum(len(part.values) for part in parts)
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    low = np.min([block.min(axis=0) for block in blocks], axis=0)
    high = np.max([block.max(axis=0) for block in blocks], axis=0)
    constant = [f"{names[place]} = {low[place]:g}" for place in np.flatnonzero(low == high)]
    lines = [
        f"{part.path}: {list(part.values.shape)} {part.values.dtype}" for part in parts[:SHOWN]
    ]
    if len(parts) > SHOWN:
        lines.append(f"and {len(parts) - SHOWN} more files")
    lines.append(f"rows: {list(rows.shape)} float32, values {low.min():g} to {high.max():g}")
    lines.append(f"columns: {some(names, 20)}")
    if total > len(rows):
        lines.append(f"left out: {total - len(rows)} rows with NaN or infinite values")
    if constant:
        lines.append(f"constant: {some(constant, 20)}")
    return "\n".join(lines)
