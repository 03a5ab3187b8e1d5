"""Many VAEs as one compiled program: seeds, betas, rates and other numbers side by side."""

import difflib
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vae_jax.checks import check_count, check_number, check_positive, check_seed
from vae_jax.devices import make_mesh
from vae_jax.inputs import check_inputs
from vae_jax.model import VAE
from vae_jax.progress import show_nothing, show_progress
from vae_jax.replicas import Problem, Row, fit_into_memory, train_block
from vae_jax.schedules import Schedule, check_schedule, constant, schedule_numbers
from vae_jax.types import Params

TRACED: dict[str, Any] = {"seed": 0, "beta": 1.0, "learning_rate": 1e-3, "std": None}
"""Numbers that vary inside one program, and their defaults; the schedule's numbers join them."""


class Group(NamedTuple):
    """The replicas that share shapes: `params` has a leading axis over them, in the order of
    `indices`, their rows in the table."""

    vae: VAE
    indices: list[int]
    params: Params


class Sweep(NamedTuple):
    """The end of a sweep. `metrics` are [R, T] in the order of `table`; a replica that stopped
    being finite is in `frozen` with the first step that was not, and NaN from there on."""

    table: list[Row]
    metrics: dict[str, np.ndarray[Any, Any]]
    groups: list[Group]
    frozen: dict[int, int]


def product(**axes: Iterable[Any]) -> list[Row]:
    """The table of every combination of the values, the last name varying fastest."""
    lists = {name: list(values) for name, values in axes.items()}
    if empty := [name for name, values in lists.items() if not values]:
        raise ValueError(f"No values were given for {', '.join(empty)}.")
    return [dict(zip(lists, row, strict=True)) for row in itertools.product(*lists.values())]


def sweep(
    build: Callable[..., Problem],
    table: Iterable[Mapping[str, Any]],
    data: Any = None,
    *,
    num_steps: int,
    schedule: Schedule = constant,
    chunk_steps: int = 500,
    mesh: Mesh | None = None,
    memory: int | None = None,
    progress: bool = True,
) -> Sweep:
    """Trains a replica for every row of `table` and returns them with their metrics [R, T].

    A row may set `seed`, `beta`, `learning_rate`, `std` (of a decoder whose likelihood is
    `normal()`) and the schedule's numbers: these are traced, so all their values share one
    program. Its other settings go to `build`, and replicas in which these differ form groups,
    each compiled once. Replica r is what `fit` with `jax.random.key(seed)` would train.

    Replicas are spread over the mesh's "replica" axis without communication. A group that would
    need more than `memory` bytes a device, by the compiler's own account, is run in blocks.

    Raises:
        TypeError, ValueError: an unknown setting (with the nearest valid one), an empty table, a
            schedule that does not end at its target, data that do not fit, or a single replica
            that does not fit into memory.
    """
    check_count("num_steps", num_steps)
    check_count("chunk_steps", chunk_steps)
    rows = check_table(build, table, schedule)
    mesh = make_mesh() if mesh is None else mesh
    metrics: dict[int, dict[str, Any]] = {}
    frozen: dict[int, int] = {}
    groups = []
    show = show_progress if progress else show_nothing
    with show(num_steps * len(rows), 0, "sweep") as report:
        for shapes, indices in _grouped(build, rows):
            problem, group = build(**shapes), [rows[index] for index in indices]
            checked = check_inputs(problem.vae, data, problem.batch_fn, jax.random.key(0))
            compiled, count = fit_into_memory(
                problem, group, checked, schedule, num_steps, chunk_steps, mesh, memory
            )
            parts = []
            for first in range(0, len(group), count):
                params, series, broken = train_block(
                    compiled, group[first : first + count], count, num_steps, chunk_steps,
                    report, num_steps * len(metrics),
                )  # fmt: skip
                parts.append(params)
                members = indices[first : first + count]
                frozen |= {members[place]: step for place, step in broken.items()}
                for place, index in enumerate(members):
                    metrics[index] = _row(series, place)
            joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
            groups.append(Group(problem.vae, indices, joined))
    stacked = {name: np.stack([metrics[i][name] for i in range(len(rows))]) for name in metrics[0]}
    return Sweep(rows, stacked, groups, frozen)


def replica(result: Sweep, index: int) -> tuple[VAE, Params]:
    """The VAE and the trained parameters of the replica in row `index` of the table."""
    for group in result.groups:
        if index in group.indices:
            place = group.indices.index(index)
            params = [jnp.asarray(leaf[place]) for leaf in jax.tree.leaves(group.params)]
            return group.vae, jax.tree.unflatten(jax.tree.structure(group.params), params)
    raise ValueError(f"There is no replica {index}; the table has {len(result.table)} rows.")


def _row(series: dict[str, Any], place: int) -> dict[str, Any]:
    return {name: values[place] for name, values in series.items()}


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


def _grouped(build: Callable[..., Problem], rows: list[Row]) -> list[tuple[Row, list[int]]]:
    """The settings that go to `build`, and the rows that share them."""
    names = list(inspect.signature(build).parameters)
    groups: dict[Any, tuple[Row, list[int]]] = {}
    for index, row in enumerate(rows):
        shapes = {name: row[name] for name in names if name in row}
        key = (tuple(shapes.items()), row["std"] is None)
        groups.setdefault(key, (shapes, []))[1].append(index)
    return list(groups.values())
