"""Numbers from .csv files: numpy's reader for those that are well, an exact one for the rest."""

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.data.files import reading

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""Fields that stand for a number that is not there, in any case; they become NaN."""

Rows = np.ndarray[Any, Any]


class CsvOptions(NamedTuple):
    """delimiter between fields; header: whether the first line holds names, None to look."""

    delimiter: str = ","
    header: bool | None = None


def read_csv(
    path: Path, columns: Sequence[str] | None = None, options: CsvOptions | None = None
) -> tuple[Rows, tuple[str, ...]]:
    """The numbers [N, D] in a .csv file (float64) and the names of its columns.

    The first line holds names if none of its fields is a number; without names columns are x0, x1,
    ... Fields may be quoted, blank lines are skipped, fields in `MISSING` are NaN. numpy reads
    the file; only where it cannot, a slower reader goes through it again, which knows missing
    fields and can say which line is wrong.

    Raises:
        OSError, ValueError: the file cannot be read, a line has another number of fields than the
            first (with the line's number), or a column that was asked for holds something else
            than numbers; always with the path.
    """
    options = options or CsvOptions()
    with reading(path):
        names, has_names = _names(path, options)
        wanted = _positions(path, names, columns)
        chosen = tuple(names[place] for place in wanted)
        values = _read_fast(path, len(names), wanted, has_names, options)
        if values is None:
            values = _read_exactly(path, names, wanted, has_names, options)
        return values, chosen


def _open(path: Path) -> io.TextIOWrapper:
    return open(path, newline="", encoding="utf-8-sig")


def _lines(path: Path, file: Any, options: CsvOptions) -> Iterator[tuple[int, list[str]]]:
    """Every line that is not blank, with its number, counted from 1 as editors do."""
    reader = csv.reader(file, delimiter=options.delimiter, strict=True)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error


def _names(path: Path, options: CsvOptions) -> tuple[tuple[str, ...], bool]:
    """The names of the columns, and whether the file has a line with them."""
    with _open(path) as file:
        _, first = next(_lines(path, file, options), (0, []))
    if not first:
        raise ValueError(f"{path} is empty.")
    found = options.header
    if found is None:
        found = not any(_is_number(field) for field in first)
    names = [field.strip() for field in first] if found else [""] * len(first)
    names = [name or f"x{place}" for place, name in enumerate(names)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{path} has more than one column named {', '.join(twice[:5])}.")
    return tuple(names), found


def _positions(
    path: Path, names: tuple[str, ...], columns: Sequence[str] | None
) -> tuple[int, ...]:
    """Where the wanted columns are."""
    places = {name: place for place, name in enumerate(names)}
    missing = [name for name in columns or () if name not in places]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; it has {', '.join(names[:20])}.")
    return tuple(range(len(names)) if columns is None else (places[name] for name in columns))


def _read_fast(
    path: Path, width: int, wanted: tuple[int, ...], has_names: bool, options: CsvOptions
) -> Rows | None:
    """The rows, or None if numpy does not take the file as it is.

    Where only some columns are wanted or a field is quoted it does not try: it would not see a line
    with too many fields, and is lenient with quotes.
    """
    if wanted != tuple(range(width)):
        return None
    settings: Any = {"delimiter": options.delimiter, "comments": None}
    try:
        with _open(path) as file:
            if has_names:
                next(_lines(path, file, options))
            values = np.loadtxt(file, ndmin=2, **settings)
    except (ValueError, UserWarning):
        return None
    return values if len(values) and values.shape[1] == width else None


def _read_exactly(
    path: Path,
    names: tuple[str, ...],
    wanted: tuple[int, ...],
    has_names: bool,
    options: CsvOptions,
) -> Rows:
    """The rows, or the exact reason why there are none."""
    rows: list[list[float]] = []
    wrong: dict[int, list[str]] = defaultdict(list)
    with _open(path) as file:
        for number, fields in _lines(path, file, options):
            if has_names:
                has_names = False
                continue
            if len(fields) != len(names):
                raise ValueError(
                    f"{path}, line {number}: {len(fields)} fields where the first line has "
                    f"{len(names)}."
                )
            row = [_number(fields[place]) for place in wanted]
            for place, value in zip(wanted, row, strict=True):
                if value is None and len(wrong.get(place, ())) < 3:
                    wrong[place].append(f"line {number} {fields[place][:40]!r}")
            rows.append([math.nan if value is None else value for value in row])
    if wrong:
        shown = [f"{names[place]!r} ({', '.join(wrong[place])})" for place in sorted(wrong)]
        rest = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        raise ValueError(
            f"{path}: not all values are numbers in columns {', '.join(shown[:5])}{rest}. Choose "
            f"the others with columns=[...]; header=True if the first line holds names."
        )
    if not rows:
        raise ValueError(f"{path} has names but no rows.")
    return np.array(rows, np.float64)


def _number(field: str) -> float | None:
    """The number in a field, NaN if it is missing, None if it is something else."""
    text = field.strip()
    if text.lower() in MISSING:
        return math.nan
    if not text.isascii() or "_" in text:  # float() takes 1_000 and digits of other scripts
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(field: str) -> bool:
    number = _number(field)
    return number is not None and not math.isnan(number)
