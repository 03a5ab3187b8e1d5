"""The host's side of a run: chunks of `train_scan`, and between them progress, checks and files."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vae_jax import run_folder
from vae_jax.breakage import advice, first_broken
from vae_jax.checkpoint import load_tree, save_tree
from vae_jax.checks import check_count, check_number
from vae_jax.devices import everywhere, shard_batches
from vae_jax.inputs import check_inputs, check_key
from vae_jax.interrupts import Interrupted, interrupts
from vae_jax.model import VAE
from vae_jax.processes import any_process, is_first, on_first, together
from vae_jax.programs import Program, compile_run, starting
from vae_jax.progress import show_nothing, show_progress
from vae_jax.run_folder import CHECKPOINT, METRICS, Series
from vae_jax.spec import describe
from vae_jax.train import TrainState
from vae_jax.types import BatchFn, Key, LossFn, Metrics

SAVE_SECONDS = 10.0
"""A checkpoint is written at the first chunk's end after this time, and always at the end."""


class Fit(NamedTuple):
    """The end of a run: its state, the metrics of all its steps [T], and the time that the steps
    of this call took, compiling not counted."""

    state: TrainState
    metrics: Series
    seconds: float
    steps_per_second: float


def fit(
    vae: VAE,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    data: Any,
    rng: Key,
    *,
    batch_fn: BatchFn,
    num_steps: int,
    beta: float = 1.0,
    run_dir: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    chunk_steps: int = 500,
    on_chunk: Callable[[TrainState], None] | None = None,
    progress: bool = True,
    mesh: Mesh | None = None,
) -> Fit:
    """Trains `vae` for `num_steps` steps, from the beginning or from a run folder's checkpoint.

    Between chunks of `chunk_steps` compiled steps it updates the progress bar, checks that
    everything is finite, saves to `run_dir` and calls `on_chunk(state)`, which it also calls
    before the first step. A run that was stopped and resumed ends in the same parameters, bit
    for bit, as one that was not. `settings` is kept in config.json and must be the same on
    resuming: put there what fit cannot see, such as the learning rate. An older run in `run_dir`
    is moved aside unless it is resumed.

    With a `mesh` (`make_mesh(data=...)`) the batch is spread over its "data" axis, for one large
    model on many devices, also of several processes (`vae_jax.processes`): all of them train, the
    first one writes.

    Raises:
        TypeError, ValueError: data, settings or folder are not as they must be.
        FileNotFoundError: there is nothing to resume in `run_dir`.
        FloatingPointError: a term or a parameter stopped being finite; the last good state has
            been saved.
        Interrupted: after Ctrl-C, once the running chunk is finished and saved.
    """
    check_key(rng)
    num_steps, beta = check_count("num_steps", num_steps), check_number("beta", beta)
    if beta < 0:
        raise ValueError(f"beta must be at least 0, got {beta}.")
    check_count("chunk_steps", chunk_steps)
    data = check_inputs(vae, data, batch_fn, rng)
    if mesh is not None:
        batch_fn, data = shard_batches(batch_fn, mesh), everywhere(mesh, data)
    folder = None if run_dir is None else Path(run_dir)
    config = _config(vae, loss_fn, beta, num_steps, rng, settings)
    _open(folder, resume, config)
    rng_init, rng_run = jax.random.split(rng)
    start = partial(starting(mesh), rng_init, vae.init, loss_fn, optimizer)
    arguments = (rng_run, data, jnp.float32(beta))
    state, program = compile_run(start, arguments, batch_fn, chunk_steps, num_steps, mesh)
    state, history = _restore(folder, resume, state, num_steps, mesh)
    if folder and resume:
        on_first(lambda: run_folder.save_config(folder, config))
    if on_chunk and not history:
        on_chunk(state)

    seconds, first_step, saved = 0.0, int(state.step), time.monotonic()
    show = show_progress if progress and is_first() else show_nothing
    with together(), interrupts() as interrupted, show(num_steps, first_step) as report:
        while (step := int(state.step)) < num_steps:
            length = min(chunk_steps - step % chunk_steps, num_steps - step)
            after, metrics, taken = _run(program(length), state, arguments)
            if broken := first_broken(metrics, after.params, step):
                _save(folder, state)
                raise FloatingPointError(advice(broken, folder, step))
            state, seconds = after, seconds + taken
            history.append(metrics)
            report(step + length, metrics)
            if folder and is_first():
                run_folder.append_metrics(folder, step + 1, metrics)
            if on_chunk:
                on_chunk(state)
            [stop] = any_process(interrupted())
            if stop or step + length == num_steps or time.monotonic() - saved > SAVE_SECONDS:
                _save(folder, state)
                saved = time.monotonic()
            if stop:
                any_process(stop)  # nobody leaves, and is missed, before the first has written
                raise Interrupted(step + length, folder)
    return Fit(state, _joined(history), seconds, (num_steps - first_step) / max(seconds, 1e-9))


def _config(
    vae: VAE,
    loss_fn: LossFn,
    beta: float,
    num_steps: int,
    rng: Key,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What config.json says of the run, and what must be the same on resuming."""
    run_folder.check_settings(settings)
    return {
        "vae": describe(vae),
        "objective": run_folder.objective_name(loss_fn),
        "beta": beta,
        "num_steps": num_steps,
        "rng": np.asarray(jax.random.key_data(rng)).tolist(),
        "settings": dict(settings or {}),
    }


def _open(folder: Path | None, resume: bool, config: dict[str, Any]) -> None:
    """Makes or reopens the run folder; refuses one that does not fit, before any compiling."""
    if folder is None:
        if resume:
            raise ValueError("To resume, name the run_dir of the run that was stopped.")
    elif resume:
        run_folder.check_same(folder, config)
    else:
        on_first(lambda: _create(folder, config))


def _create(folder: Path, config: dict[str, Any]) -> None:
    if moved := run_folder.create(folder, config):
        print(f"The older run in {folder} is now {moved}.")


def _restore(
    folder: Path | None, resume: bool, state: TrainState, num_steps: int, mesh: Mesh | None
) -> tuple[TrainState, list[Series]]:
    """The state to go on from, with the metrics of the steps before it."""
    if folder is None or not resume:
        return state, []
    if not (folder / CHECKPOINT).is_file():
        on_first(lambda: (folder / METRICS).unlink(missing_ok=True))
        return state, []
    saved = load_tree(folder / CHECKPOINT, _saved(state))
    state = dataclasses.replace(state, **(everywhere(mesh, saved) if mesh else saved))
    if int(state.step) > num_steps:
        raise ValueError(
            f"{folder} stands at step {int(state.step)}, past num_steps {num_steps}; "
            f"ask for at least as many."
        )
    history = run_folder.read_metrics(folder, int(state.step))
    on_first(lambda: run_folder.keep_metrics(folder, int(state.step)))
    return state, [history]


def _run(
    program: Program, state: TrainState, arguments: tuple[Any, ...]
) -> tuple[TrainState, Series, float]:
    """The state after the program's steps, their metrics, and the seconds they took."""
    started = time.perf_counter()
    state, metrics = jax.block_until_ready(program(state, *arguments))
    taken = time.perf_counter() - started
    return state, {name: np.asarray(metrics[name]) for name in _columns(metrics)}, taken


def _saved(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


def _save(folder: Path | None, state: TrainState) -> None:
    if folder and is_first():
        save_tree(folder / CHECKPOINT, _saved(state))


def _columns(metrics: Metrics) -> list[str]:
    """Loss first and the terms after it: a jitted function returns its dict sorted."""
    first = [name for name in ("loss", "recon", "kl") if name in metrics]
    return first + [name for name in metrics if name not in first]


def _joined(history: list[Series]) -> Series:
    names = history[0] if history else {}
    return {name: np.concatenate([part[name] for part in history]) for name in names}
