"""metrics.csv: a row for each step, appended as training goes on."""

import csv
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.checkpoint import naming, write_atomic

METRICS = "metrics.csv"
METRICS_SUM = "metrics_sha256"
"""The name under which a checkpoint keeps the checksum of the rows that lead to it."""

Series = dict[str, np.ndarray[Any, Any]]


def rows_text(first_step: int, metrics: Series) -> str:
    """The rows of the steps `first_step`, ..., with the header before those of step 1."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    if first_step == 1:
        writer.writerow(["step", *metrics])
    for step, values in enumerate(zip(*metrics.values(), strict=True), first_step):
        writer.writerow([step, *(f"{value:.9g}" for value in values)])
    return rows.getvalue()


def append_metrics(folder: Path, first_step: int, metrics: Series) -> None:
    """Adds rows for the steps `first_step`, ... to metrics.csv.

    Raises:
        OSError: it cannot be written, or is not as long as it must be.
    """
    path = folder / METRICS
    append_text(path, path.stat().st_size if first_step > 1 else 0, rows_text(first_step, metrics))


def append_text(path: Path, size: int, text: str, *, flush: bool = True) -> int:
    """Makes `text` follow the first `size` bytes of the file; its new size.

    What is behind them, such as half a row that filled the disk, goes. `flush` waits for the disk.

    Raises:
        OSError: it cannot be written, or is shorter; FileNotFoundError where it was and is gone.
    """
    content = text.encode()
    with naming(path), open(path, "r+b" if size else "wb") as file:
        if (found := os.fstat(file.fileno()).st_size) < size:
            raise OSError(f"{path} was cut: it has {found} bytes of {size} that were written.")
        file.truncate(size)
        file.seek(size)
        file.write(content)
        file.flush()
        if flush:
            os.fsync(file.fileno())
    return size + len(content)


def read_metrics(folder: Path, num_steps: int | None = None) -> Series:
    """The columns of metrics.csv but `step`, each [T] (float32), or their first `num_steps` rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or has fewer rows.
    """
    path = folder / METRICS
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
        rows = rows[:num_steps]
        table = np.array(rows, np.float32).reshape(-1, len(header))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if header[:1] != ["step"] or (num_steps is not None and len(rows) < num_steps):
        raise ValueError(f"{path} is damaged: {len(rows)} rows of {header} where more were saved.")
    return {name: table[:, i] for i, name in enumerate(header) if i > 0}


def checked_metrics(folder: Path, num_steps: int, checksum: Any) -> Series:
    """The first `num_steps` rows of metrics.csv as `read_metrics` has them, if their bytes have
    this SHA-256 ([32], uint8; None where it is not known).

    Raises:
        FileNotFoundError, ValueError: as `read_metrics`, or other bytes than were saved.
    """
    found = read_metrics(folder, num_steps)
    path = folder / METRICS
    digest = hashlib.sha256(b"".join(_first_lines(path, num_steps + 1))).digest()
    if checksum is not None and bytes(checksum) != digest:
        raise ValueError(
            f"{path} is damaged: its first {num_steps} rows are not those that were saved."
        )
    return found


def _first_lines(path: Path, count: int) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)[:count]


def keep_metrics(folder: Path, num_steps: int) -> Series:
    """Cuts metrics.csv to its first `num_steps` rows, those the checkpoint knows of; returns them.

    Raises:
        ValueError: it is damaged, or has fewer rows.
    """
    kept = read_metrics(folder, num_steps)
    path = folder / METRICS
    write_atomic(path, b"".join(_first_lines(path, num_steps + 1)))
    return kept
