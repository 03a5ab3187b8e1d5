"""The folder of a training by epochs: a run, and beside it all replicas as they stand."""

import contextlib
import csv
import dataclasses
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax import run_folder
from vae_jax.checkpoint import write_atomic
from vae_jax.epoch_programs import Programs
from vae_jax.lock import locked
from vae_jax.model import VAE
from vae_jax.patience import Course, Numbers
from vae_jax.run_folder import CHECKPOINT
from vae_jax.snapshots import any_kept, load_kept, save_kept
from vae_jax.spec import describe
from vae_jax.train import TrainState
from vae_jax.types import LossFn, Params

HISTORY = "epochs.csv"


class Progress(NamedTuple):
    """Everything that a checkpoint holds."""

    state: TrainState
    best: Params
    history: dict[str, Numbers]
    """[R, E], NaN where no epoch has been."""
    sums: dict[str, Numbers]
    """[R]: of the metrics over the steps of the epoch that is under way."""


def make_config(
    vae: VAE,
    loss_fn: LossFn,
    course: Course,
    seeds: Sequence[int],
    steps: int,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What config.json says of the run, and what must be the same on resuming."""
    name: str = getattr(loss_fn, "__qualname__", type(loss_fn).__name__)
    plain = {"schedule": course.schedule.__name__, "numbers": dict(course.numbers)}
    return {
        "vae": describe(vae),
        "objective": name.split(".")[0],
        "beta": course.beta,
        "num_steps": course.num_epochs * steps,
        "course": {"epochs": course.num_epochs, "patience": course.patience, **plain},
        "seeds": [int(seed) for seed in seeds],
        "settings": dict(settings or {}),
    }


@contextlib.contextmanager
def open_folder(folder: Path | None, resume: bool, config: dict[str, Any]) -> Iterator[None]:
    """Makes or reopens the run folder, which is this process's until the end; refuses one that
    does not fit, before any compiling."""
    if folder is None:
        if resume:
            raise ValueError("To resume, name the run_dir of the run that was stopped.")
        yield
        return
    if resume:
        run_folder.check_same(folder, config)
    with locked(folder):
        if not resume and (moved := run_folder.create(folder, config)):
            print(f"The older run in {folder} is now {moved}.")
        yield


def _tree(progress: Progress) -> dict[str, Any]:
    state = progress.state
    kept = {"params": state.params, "opt_state": state.opt_state, "step": state.step}
    others = {"best": progress.best, "history": progress.history, "sums": progress.sums}
    return {"replicas": kept | others}


def restore(folder: Path | None, resume: bool, progress: Progress, programs: Programs) -> Progress:
    """The progress that the folder's checkpoint holds, or the first one if there is none yet."""
    if folder is None or not resume or not any_kept(folder / CHECKPOINT):
        return progress
    found = load_kept(folder / CHECKPOINT, _tree(progress))["replicas"]
    places = {n: jax.device_put(found[n], programs.sharding) for n in ("params", "opt_state")}
    state = dataclasses.replace(
        progress.state, **places, step=jax.device_put(found["step"], programs.sharding)
    )
    history, sums = (
        {name: np.asarray(values) for name, values in found[part].items()}
        for part in ("history", "sums")
    )
    best = jax.device_put(found["best"], programs.sharding)
    return Progress(state, best, history, sums)


def save_or_warn(
    folder: Path, progress: Progress, seeds: Numbers, best_epochs: Numbers, done: int
) -> None:
    """`save`, but what cannot be written is warned of: training goes on, and tries again."""
    try:
        save(folder, progress, seeds, best_epochs, done)
    except OSError as error:
        warnings.warn(
            f"Could not write to {folder}: {error}. Training goes on, and this is tried again.",
            RuntimeWarning, stacklevel=3,
        )  # fmt: skip


def save(folder: Path, progress: Progress, seeds: Numbers, best_epochs: Numbers, done: int) -> None:
    """The checkpoint after `done` epochs, with the parameters of the best replica as those of the
    run, and the history as a table."""
    best = best_replica(progress.history["validation"], best_epochs)
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[best], progress.best)
    save_kept(folder / CHECKPOINT, {"params": params, **_tree(progress)})
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["epoch", "seed", *progress.history])
    for epoch in range(done):
        for place, seed in enumerate(seeds):
            values = (f"{series[place, epoch]:.9g}" for series in progress.history.values())
            writer.writerow([epoch + 1, seed, *values])
    write_atomic(folder / HISTORY, rows.getvalue().encode())


def best_replica(bounds: Numbers, best: Numbers) -> int:
    """The replica whose best epoch, counted from 0, has the highest of the bounds [R, E]."""
    found = bounds[np.arange(len(bounds)), best]
    return int(np.argmax(np.where(np.isfinite(found), found, -np.inf)))
