"""Training by epochs: replicas side by side, a validation bound after each epoch, the best kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.checks import check_count, check_seed
from vae_jax.epoch_files import Progress, make_config, open_folder, restore, save, save_or_warn
from vae_jax.epoch_programs import Programs, make_programs, scheduled
from vae_jax.interrupts import Interrupted, interrupts
from vae_jax.model import VAE, batch_size, check_batch
from vae_jax.patience import Course, Numbers, Verdict, check_course, first_judged, verdict
from vae_jax.train import TrainState
from vae_jax.types import BatchFn, LossFn, Params

SAVE_SECONDS = 30.0
"""A checkpoint is written at the first chunk's end after this time, and always at the end."""

CHUNK_STEPS = 200
"""Longer epochs are cut into chunks of at most this many steps, between which Ctrl-C is heard."""

OnEpoch = Callable[[int, dict[str, Numbers], float], None]
"""Called with the epoch, counted from 1, its numbers [R], and images/s of all replicas."""


class Epochs(NamedTuple):
    """The end of a training of R replicas over at most E epochs."""

    params: Params
    """The parameters of each replica after its best epoch: every leaf with a leading R."""
    history: dict[str, Numbers]
    """[R, E'] each, for the E' epochs that were trained: means of the training metrics over the
    epoch, and `validation`, the bound on the validation set after it."""
    best: Numbers
    """[R], the epoch with the best validation bound, counted from 1."""
    images_per_second: float
    """Of all replicas together, in this call, compiling and validation not counted."""


class Setting(NamedTuple):
    """What does not change while the loop runs."""

    programs: Programs
    data: Any
    validation: Any
    seeds: Numbers
    course: Course
    rows: int
    steps: int
    """Of an epoch."""
    judged: int


def train_epochs(
    vae: VAE,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    data: Any,
    validation: Any,
    seeds: Sequence[int],
    *,
    batch_fn: BatchFn,
    rows: int,
    course: Course,
    run_dir: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    on_epoch: OnEpoch | None = None,
) -> Epochs:
    """Trains a replica for each seed by epochs and keeps for each the parameters of its best.

    An epoch is N // `rows` steps over the N rows of `data`, `rows` being the batch size. After it
    the metric `bound` of `loss_fn` (else -loss) is taken over all of `validation`, x [M, ...] as
    `loss_fn` takes it, with the same noise for every epoch and replica. Replicas are spread over
    as many devices as divide their number; each is trained as if it were alone, and those that
    have run out of patience change no more.

    `run_dir` becomes a run that `load_run` opens, with the parameters of the best replica, and
    `resume` goes on with it, to the same bits. `settings` is as in `fit`. epochs.csv holds the
    history.

    Raises:
        TypeError, ValueError: data, settings or folder are not as they must be.
        FileNotFoundError: there is nothing to resume in `run_dir`.
        FloatingPointError: the bound of every replica has stopped being finite.
        Interrupted: after Ctrl-C or SIGTERM, once the running chunk is finished and saved.
    """
    check_course(course)
    if not seeds:
        raise ValueError("Give at least one seed.")
    steps = batch_size(data) // check_count("rows", rows)
    if steps == 0:
        raise ValueError(f"The batch size is {rows}, the data has only {batch_size(data)} rows.")
    check_batch(vae, validation)
    folder = None if run_dir is None else Path(run_dir)
    config = make_config(vae, loss_fn, course, seeds, steps, settings)
    schedule = scheduled(course, course.num_epochs * steps)
    programs = make_programs(vae.init, loss_fn, optimizer, batch_fn, schedule, rows, len(seeds))
    data, validation = jax.tree.map(jnp.asarray, (data, validation))
    numbers = np.array([check_seed(seed) for seed in seeds], np.uint32)
    setting = Setting(
        programs, data, validation, numbers, course, rows, steps, first_judged(course, steps)
    )
    with open_folder(folder, resume, config):
        progress = restore(folder, resume, _first(loss_fn, setting), programs)
        progress, speed = _loop(setting, progress, folder, on_epoch)
    done, found = _so_far(setting, progress)
    history = {name: values[:, :done] for name, values in progress.history.items()}
    return Epochs(progress.best, history, found.best + 1, speed * rows * len(seeds))


def _loop(
    setting: Setting, progress: Progress, folder: Path | None, on_epoch: OnEpoch | None
) -> tuple[Progress, float]:
    """Chunk after chunk until the end; with the steps per second."""
    length = -(-setting.steps // -(-setting.steps // CHUNK_STEPS))
    saved, seconds, done = time.monotonic(), 0.0, 0
    with interrupts() as interrupted:
        while not _ended(setting, progress):
            epoch, place = divmod(int(progress.state.step[0]), setting.steps)
            count = min(length, setting.steps - place)
            state, metrics, taken = _chunk(setting, progress.state, count)
            seconds, done = seconds + taken, done + count
            sums = {n: progress.sums[n] + values.sum(axis=1) for n, values in metrics.items()}
            progress = progress._replace(state=state, sums=sums)
            if place + count == setting.steps:
                progress = _end_epoch(setting, progress, epoch)
                if on_epoch:
                    rate = done * state.step.size * setting.rows / seconds
                    on_epoch(epoch + 1, {n: v[:, epoch] for n, v in progress.history.items()}, rate)
            stop = interrupted()
            late = time.monotonic() - saved > SAVE_SECONDS
            ended = _ended(setting, progress)
            if folder and (stop or late or ended):
                done_epochs, found = _so_far(setting, progress)
                write = save if stop or ended else save_or_warn
                write(folder, progress, setting.seeds, found.best, done_epochs)
                saved = time.monotonic()
            if stop:
                raise Interrupted(int(state.step[0]), folder, stop)
    return progress, done / max(seconds, 1e-9)


def _chunk(
    setting: Setting, state: TrainState, count: int
) -> tuple[TrainState, dict[str, Numbers], float]:
    """The state after `count` steps, their metrics [R, T] and the seconds they took."""
    arguments = (state, setting.seeds, setting.data, jnp.float32(setting.course.beta))
    program = setting.programs.train(count, *arguments)
    began = time.perf_counter()
    state, metrics = jax.block_until_ready(program(*arguments))
    taken = time.perf_counter() - began
    return state, {name: np.asarray(values) for name, values in metrics.items()}, taken


def _end_epoch(setting: Setting, progress: Progress, epoch: int) -> Progress:
    """The history with this epoch's numbers, and its parameters where they are the best."""
    beta = jnp.float32(setting.course.beta)
    bounds = setting.programs.validate(progress.state.params, setting.validation, beta)
    history = {name: values.copy() for name, values in progress.history.items()}
    for name, total in progress.sums.items():
        history[name][:, epoch] = total / setting.steps
    history["validation"][:, epoch] = np.asarray(bounds)
    found = verdict(history["validation"][:, : epoch + 1], setting.judged, setting.course.patience)
    better = setting.programs.choose(found.best == epoch, progress.state.params, progress.best)
    zeros = {name: np.zeros_like(total) for name, total in progress.sums.items()}
    if not np.isfinite(history["validation"][:, epoch]).any():
        raise FloatingPointError(
            f"The bound of every replica stopped being finite in epoch {epoch + 1}. Lower the "
            f"learning rate, or clip the gradients."
        )
    return progress._replace(best=better, history=history, sums=zeros)


def _ended(setting: Setting, progress: Progress) -> bool:
    """Whether the last epoch is done, or no replica goes on."""
    done, found = _so_far(setting, progress)
    return done == setting.course.num_epochs or not found.active.any()


def _so_far(setting: Setting, progress: Progress) -> tuple[int, Verdict]:
    """The epochs that are done, and the verdict on them."""
    done = int(progress.state.step[0]) // setting.steps
    bounds = progress.history["validation"][:, :done]
    return done, verdict(bounds, setting.judged, setting.course.patience)


def _first(loss_fn: LossFn, setting: Setting) -> Progress:
    """The progress before the first step."""
    state = setting.programs.start(jnp.asarray(setting.seeds))
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state.params)
    some = setting.validation
    _, metrics = jax.eval_shape(loss_fn, one, jax.random.key(0), some, jnp.float32(1.0))
    first = [name for name in ("loss", "recon", "kl") if name in metrics]
    names = [*first, *(name for name in metrics if name not in first)]
    replicas = len(setting.seeds)
    history = {
        name: np.full((replicas, setting.course.num_epochs), np.nan, np.float32)
        for name in (*names, "validation")
    }
    sums = {name: np.zeros(replicas, np.float32) for name in names}
    return Progress(state, state.params, history, sums)
