"""Many VAEs as one compiled program: seeds, betas, rates and other numbers side by side."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vae_jax.blocks import block_size, blocks_to_train, train_block
from vae_jax.checks import check_count
from vae_jax.devices import make_mesh
from vae_jax.inputs import check_inputs
from vae_jax.interrupts import SIGNALS, Interrupted, interrupts
from vae_jax.ledger import Ledger, blank, ledger_path, load_ledger, save_ledger
from vae_jax.processes import any_process, any_signal, is_first, together
from vae_jax.progress import Report, show_nothing, show_progress
from vae_jax.replicas import Compiled, Problem, Row, check_noise, compile_group
from vae_jax.results import Sweep, collect, replica
from vae_jax.schedules import Schedule, constant
from vae_jax.snapshots import any_kept
from vae_jax.sweep_folder import open_sweep, sweep_config
from vae_jax.table import Group, check_table, group_rows, product, take_shard

__all__ = ["Problem", "Row", "Sweep", "check_table", "product", "replica", "sweep"]

SAVE_SECONDS = 10.0
"""A sweep is saved at the first chunk's end after this time, or after fifty times what saving
took, and at the end of each group."""


class _Run(NamedTuple):
    """What every group of a sweep is trained with."""

    rows: list[Row]
    schedule: Schedule
    num_steps: int
    chunk_steps: int
    mesh: Mesh
    memory: int | None
    folder: Path | None
    resume: bool


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
    shard: tuple[int, int] | None = None,
    run_dir: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Sweep:
    """Trains a replica for every row of `table` and returns them with their metrics [R, T].

    A row may set `seed`, `beta`, `learning_rate`, `std` (of a decoder whose likelihood is
    `normal()`) and the schedule's numbers: these are traced, so all their values share one
    program. Its other settings go to `build`, and replicas in which these differ form groups,
    each compiled once. Replica r is what `fit` with `jax.random.key(seed)` would train.

    Replicas are spread over the mesh's "replica" axis without communication. A group that would
    need more than `memory` bytes a device, by the compiler's own account, is run in blocks.
    `shard=(i, n)` trains the i-th of n parts of the table, i = 1 ... n; see `vae_jax.shards`.

    With `run_dir` everything is saved every few seconds, and `resume` goes on from there, on
    whatever devices there are: to the same bits if as many replicas share a program as before,
    else up to rounding. `settings` is kept there and must be the same on resuming, as must table,
    schedule, data and number of steps. An older sweep in `run_dir` is moved aside.

    Raises:
        TypeError, ValueError: an unknown setting (with the nearest valid one), an empty table, a
            schedule that does not end at its target, data that do not fit, a single replica
            that does not fit into memory, or a `run_dir` that is not what is to be resumed.
        FileNotFoundError: there is nothing to resume.
        BlockingIOError: another process is training in `run_dir`.
        Interrupted: after Ctrl-C or SIGTERM, once the running chunk is finished and saved.
    """
    check_count("num_steps", num_steps)
    check_count("chunk_steps", chunk_steps)
    rows = take_shard(check_table(build, table, schedule), shard)
    groups = group_rows(build, rows)
    checked = [check_inputs(g.problem.vae, data, g.problem.batch_fn, jax.random.key(0))
               for g in groups]  # fmt: skip
    for group in groups:
        check_noise(group.problem, rows[group.indices[0]]["std"])
    folder = None if run_dir is None else Path(run_dir)
    config = sweep_config(rows, groups, schedule, num_steps, data, shard, settings)
    mesh = make_mesh() if mesh is None else mesh
    run = _Run(rows, schedule, num_steps, chunk_steps, mesh, memory, folder, resume)
    show = show_progress if progress and is_first() else show_nothing
    ledgers: list[Ledger] = []
    with ExitStack() as stack:
        open_sweep(stack, folder, resume, config)
        interrupted = stack.enter_context(interrupts())
        report = stack.enter_context(show(num_steps * len(rows), 0, "sweep"))
        stack.enter_context(together())
        for number, (group, inputs) in enumerate(zip(groups, checked, strict=True)):
            before = sum(int(ledger.steps.sum()) for ledger in ledgers)
            ledgers.append(_train(run, number, group, inputs, before, report, interrupted))
    return collect(rows, groups, ledgers)


def _train(
    run: _Run,
    number: int,
    group: Group,
    data: Any,
    before: int,
    report: Report,
    interrupted: Callable[[], int],
) -> Ledger:
    """The group's ledger, once what was left to train of it is trained and saved."""
    rows = [run.rows[index] for index in group.indices]
    compiled = compile_group(
        group.problem, data, rows[0], run.schedule, run.num_steps, run.mesh
    )  # fmt: skip
    ledger = _ledger(run, number, group, compiled)
    saved = [time.monotonic(), SAVE_SECONDS]  # when, and how long from there to the next time

    def save() -> None:
        began = time.monotonic()
        save_ledger(run.folder, number, ledger)
        saved[:] = time.monotonic(), max(SAVE_SECONDS, 50 * (time.monotonic() - began))

    def after_chunk(
        others: int, size: int, step: int, metrics: Any, enter: Callable[[], None]
    ) -> None:
        report(others + step * size, metrics)
        due = run.folder is not None and time.monotonic() - saved[0] > saved[1]
        stop, [due] = any_signal(interrupted(), SIGNALS), any_process(due)
        if run.folder and (stop or due):
            enter()
            save()
        if stop:
            any_process(True)  # nobody leaves, and is missed, before the first has written
            raise Interrupted(others + step * size, run.folder, stop)

    for places in blocks_to_train(ledger, run.num_steps):
        others = before + int(ledger.steps.sum() - ledger.steps[places].sum())
        after = partial(after_chunk, others, len(places))
        train_block(compiled, rows, places, ledger, run.num_steps, run.chunk_steps, after)
    save()
    return ledger


def _ledger(run: _Run, number: int, group: Group, compiled: Compiled) -> Ledger:
    """The group's ledger, new or as it was saved, with the size of its blocks."""
    kept = ("params", "opt_state", "step") if run.folder else ("params",)
    shapes = {name: getattr(compiled.shapes, name) for name in kept}
    length, count = min(run.chunk_steps, run.num_steps), len(group.indices)
    latent_dim = group.problem.vae.prior.latent_dim
    ledger = None
    if run.folder and run.resume and any_kept(ledger_path(run.folder, number)):
        path = ledger_path(run.folder, number)
        ledger = load_ledger(path, count, run.num_steps, shapes, latent_dim)
        if (ledger.steps == run.num_steps).all():
            return ledger
    size = block_size(compiled, count, length, run.memory, int(ledger.block) if ledger else 0)
    if ledger is None:
        _, metrics = compiled.program(size, length)
        ledger = blank(count, run.num_steps, shapes, metrics, latent_dim)
    return ledger._replace(block=np.array(size, np.int32))
