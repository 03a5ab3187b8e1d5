"""The table of a sweep: rows of settings, checked, cut into shards and grouped by shape."""

import difflib
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from vae_jax.checks import check_count, check_number, check_positive, check_seed
from vae_jax.replicas import Problem, Row
from vae_jax.schedules import Schedule, check_schedule, constant, schedule_numbers

TRACED: dict[str, Any] = {"seed": 0, "beta": 1.0, "learning_rate": 1e-3, "std": None}
"""Numbers that vary inside one program, and their defaults; the schedule's numbers join them."""


class Group(NamedTuple):
    """Replicas that share shapes, and so a program."""

    settings: Row
    """What went to `build`."""
    noisy: bool
    """Whether the rows set the decoder's noise."""
    indices: list[int]
    """Their rows in the table."""
    problem: Problem


def product(**axes: Iterable[Any]) -> list[Row]:
    """The table of every combination of the values, the last name varying fastest."""
    lists = {name: list(values) for name, values in axes.items()}
    if empty := [name for name, values in lists.items() if not values]:
        raise ValueError(f"No values were given for {', '.join(empty)}.")
    return [dict(zip(lists, row, strict=True)) for row in itertools.product(*lists.values())]


def check_table(
    build: Callable[..., Problem],
    table: Iterable[Mapping[str, Any]],
    schedule: Schedule = constant,
) -> list[Row]:
    """The rows with every traced number filled in, once all of them have been found valid.

    Raises:
        TypeError, ValueError: as `sweep`.
    """
    given = [dict(row) for row in table]
    if not given:
        raise ValueError("The table of the sweep is empty; give it at least one row.")
    numbers, shapes = schedule_numbers(schedule), inspect.signature(build).parameters
    if both := sorted({*TRACED, *numbers} & {*shapes}):
        raise ValueError(f"{', '.join(both)}: a number of the sweep cannot be one of build's, too.")
    known = [*TRACED, *numbers, *shapes]
    for name in dict.fromkeys(name for row in given for name in row):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
            raise ValueError(f"There is no setting {name!r}; {hint}")
    rows = [TRACED | numbers | row for row in given]
    for row in rows:
        check_seed(row["seed"])
        check_positive("learning_rate", row["learning_rate"])
        if check_number("beta", row["beta"]) < 0:
            raise ValueError(f"beta must be at least 0, got {row['beta']}.")
        if row["std"] is not None:
            check_positive("std", row["std"])
        hash(tuple(row.values()))  # TypeError for what cannot be told apart, such as arrays
    for values in {tuple(row[name] for name in numbers) for row in rows}:
        check_schedule(schedule, **dict(zip(numbers, values, strict=True)))
    return rows


def take_shard(rows: list[Row], shard: tuple[int, int] | None) -> list[Row]:
    """Every n-th row from the i-th on, for shard (i, n): neighbours in the table differ least, so
    the shards take about as long as each other.

    Raises:
        TypeError, ValueError: not 1 <= i <= n, or more shards than rows.
    """
    if shard is None:
        return rows
    number, count = check_count("the shard", shard[0]), check_count("the shards", shard[1])
    if number > count:
        raise ValueError(f"There is no shard {number} of {count}; they count from 1.")
    if count > len(rows):
        raise ValueError(f"{count} shards of a table of {len(rows)} rows: some would be empty.")
    return rows[number - 1 :: count]


def group_rows(build: Callable[..., Problem], rows: list[Row]) -> list[Group]:
    """The rows that share what goes to `build`, and what it makes of it, in order of first rows."""
    names = list(inspect.signature(build).parameters)
    groups: dict[Any, tuple[Row, bool, list[int]]] = {}
    for index, row in enumerate(rows):
        settings = {name: row[name] for name in names if name in row}
        noisy = row["std"] is not None
        groups.setdefault((tuple(settings.items()), noisy), (settings, noisy, []))[2].append(index)
    return [Group(*group, build(**group[0])) for group in groups.values()]
