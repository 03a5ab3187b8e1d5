"""Numbers from .parquet files, with pyarrow, which is imported when the first one is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.files import reading, some

FIRST = 3
"""Values shown of a column that does not hold numbers."""


def read_parquet(
    path: Path, columns: Sequence[str] | None = None
) -> tuple[np.ndarray[Any, Any], tuple[str, ...]]:
    """The columns of a .parquet file [N, D] as float64, missing values as NaN, and their names.

    Integers, floats, decimals and booleans are numbers here; dates and categories are not.

    Raises:
        OSError, ValueError: the file cannot be read, or a column that was asked for is missing or
            does not hold numbers (with its first values); always with the path.
        ModuleNotFoundError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        text = f"{path} needs pyarrow to be read: pip install 'vae-jax[tables]'."
        raise ModuleNotFoundError(text, name=error.name) from error
    with reading(path), parquet.ParquetFile(path) as file:
        found = file.schema_arrow.names
        names = tuple(found if columns is None else columns)
        if missing := [name for name in names if name not in set(found)]:
            raise ValueError(f"{path} has no column {missing[0]!r}; it has {some(found)}.")
        if not names or len(set(found)) < len(found):
            raise ValueError(f"{path} has no columns, or several of one name: {some(found)}.")
        _check_types(path, file, names)
        table = file.read(columns=list(names))
        rows = np.empty((table.num_rows, len(names)), np.float64)
        for place, name in enumerate(names):
            rows[:, place] = _as_float(table.column(name))
    return rows, names


def _check_types(path: Path, file: Any, names: Sequence[str]) -> None:
    """Raises ValueError for columns that do not hold numbers, with their types and first values."""
    kinds = {name: file.schema_arrow.field(name).type for name in names}
    wrong = [name for name, kind in kinds.items() if not _is_number(kind)]
    if not wrong:
        return
    first = next(file.iter_batches(FIRST, columns=wrong[:1]), None)
    values = [] if first is None else first.column(0).to_pylist()
    told = [f"{name!r} ({kinds[name]})" for name in wrong]
    raise ValueError(
        f"{path}: there are no numbers in columns {some(told)}; {wrong[0]!r} begins with "
        f"{values!r:.80}. Choose the others with columns=[...]."
    )


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    return any(test(kind) for test in tests)


def _as_float(column: Any) -> np.ndarray[Any, Any]:
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_boolean(column.type):
        column = compute.cast(column, pyarrow.int8())
    values: np.ndarray[Any, Any] = compute.cast(column, pyarrow.float64(), safe=False).to_numpy()
    return values
