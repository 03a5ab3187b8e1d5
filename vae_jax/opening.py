"""The beginning of a run with files: a new folder, or the state that an older run stopped at."""

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vae_jax import run_folder
from vae_jax.checkpoint import fingerprint, fit_tree
from vae_jax.devices import everywhere
from vae_jax.keeper import saved_part
from vae_jax.lock import locked
from vae_jax.metrics_file import METRICS, METRICS_SUM, Series, checked_metrics, keep_metrics
from vae_jax.model import VAE
from vae_jax.processes import on_first, say
from vae_jax.run_folder import CHECKPOINT
from vae_jax.snapshots import any_kept, as_jax, newest_arrays
from vae_jax.spec import describe
from vae_jax.train import TrainState
from vae_jax.types import Key, LossFn


class Stand(NamedTuple):
    """Where a run begins."""

    state: TrainState | None
    """None at the very beginning."""
    history: list[Series]
    """The metrics of the steps before, as one entry."""

    @property
    def step(self) -> int:
        return 0 if self.state is None else int(self.state.step)


def run_config(
    vae: VAE,
    loss_fn: LossFn,
    beta: float,
    num_steps: int,
    rng: Key,
    settings: Mapping[str, Any] | None,
    data: Any,
) -> dict[str, Any]:
    """What config.json says of a run, and what must be the same on resuming.

    Raises:
        TypeError: a setting cannot be kept as JSON.
    """
    run_folder.check_settings(settings)
    return {
        "vae": describe(vae),
        "objective": run_folder.objective_name(loss_fn),
        "beta": beta,
        "num_steps": num_steps,
        "rng": np.asarray(jax.random.key_data(rng)).tolist(),
        "data": fingerprint(data),
        "settings": dict(settings or {}),
    }


def open_run(
    stack: ExitStack, folder: Path | None, resume: bool, config: Mapping[str, Any]
) -> None:
    """Makes or reopens the run folder, which is this process's until `stack` is closed; refuses
    one that does not fit, before any compiling.

    Raises:
        ValueError, FileNotFoundError, OSError: as `run_folder.create`, `check_same`, `locked`.
    """
    if folder is None:
        if resume:
            raise ValueError("To resume, name the run_dir of the run that was stopped.")
        return
    if resume:
        run_folder.check_same(folder, config)

    def begin() -> None:
        stack.enter_context(locked(folder))
        if not resume and (moved := run_folder.create(folder, config)):
            say(f"The older run in {folder} is now {moved}.")

    on_first(begin)


def read_history(folder: Path) -> Series:
    """The metrics [T] of the steps that the newest sound checkpoint in `folder` stands at.

    Raises:
        ValueError, OSError: a file is damaged, missing or cannot be read. Checkpoints of format 1
            hold no checksum of the metrics.
    """
    arrays, _ = newest_arrays(folder / CHECKPOINT)
    return checked_metrics(folder, int(arrays["step"]), arrays.get(METRICS_SUM))


def restore(
    folder: Path | None, shapes: TrainState, config: Mapping[str, Any], mesh: Mesh | None
) -> Stand:
    """Where the run in `folder` stands, by its newest sound checkpoint; `shapes` are its state's.
    What metrics.csv has past that is cut off, and config.json becomes that of the longer run.

    Raises:
        ValueError: a file is damaged, or the run is past the steps that are asked for.
        OSError: a file cannot be read or written.
    """
    if folder is None:
        return Stand(None, [])
    path = folder / CHECKPOINT
    if not any_kept(path):
        on_first(lambda: (folder / METRICS).unlink(missing_ok=True))
        on_first(lambda: run_folder.save_config(folder, config))
        return Stand(None, [])
    arrays, used = newest_arrays(path)
    saved = as_jax(fit_tree(used, arrays, saved_part(shapes)))
    saved = everywhere(mesh, saved) if mesh else saved
    stand = Stand(dataclasses.replace(shapes, **saved), [])
    if stand.step > config["num_steps"]:
        raise ValueError(
            f"{folder} stands at step {stand.step}, past num_steps {config['num_steps']}; "
            f"ask for at least as many."
        )
    history = checked_metrics(folder, stand.step, arrays.get(METRICS_SUM))
    on_first(lambda: keep_metrics(folder, stand.step))
    on_first(lambda: run_folder.save_config(folder, config))
    return stand._replace(history=[history] if stand.step else [])
