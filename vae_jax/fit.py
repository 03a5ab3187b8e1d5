"""The host's side of a run: from settings to a trained state, with files, resuming and stops."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vae_jax.checks import check_count, check_number
from vae_jax.data.stream import Stream
from vae_jax.devices import everywhere, shard_batches
from vae_jax.feed import Feed, array_feed, stream_feed
from vae_jax.inputs import check_inputs, check_key
from vae_jax.keeper import Keeper
from vae_jax.loop import Log, Loop, train
from vae_jax.metrics_file import Series
from vae_jax.model import VAE
from vae_jax.opening import open_run, restore, run_config
from vae_jax.processes import is_first
from vae_jax.programs import compile_run, starting
from vae_jax.train import TrainState
from vae_jax.train_stream import chunk_lengths
from vae_jax.types import BatchFn, Key, LossFn


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
    batch_fn: BatchFn | None = None,
    num_steps: int,
    beta: float = 1.0,
    run_dir: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    chunk_steps: int = 500,
    on_chunk: Callable[[TrainState], None] | None = None,
    log: Log | None = None,
    progress: bool = True,
    debug: bool = False,
    check_determinism: bool = False,
    mesh: Mesh | None = None,
) -> Fit:
    """Trains `vae` for `num_steps` steps, from the beginning or from a run folder's checkpoint.

    `data` is what `batch_fn` makes batches of, or a `Stream`, which is read ahead by a thread and
    needs none (`chunk_batches(transform)` moves its batches). Between chunks of `chunk_steps`
    compiled steps fit updates the progress bar, checks that everything is finite, writes to
    `run_dir` in a thread of its own, and calls `log(step, means)` and `on_chunk(state)`, the
    latter also before the first step. A run that was stopped and resumed ends in the same
    parameters, bit for bit, as one that was not, also in the middle of an epoch. `settings` is kept
    in config.json and must be the same on resuming: put there what fit cannot see, such as the
    learning rate. An older run in `run_dir` is moved aside unless it is resumed.

    What cannot be written is said and tried again, while training goes on. Where numbers break,
    the chunk is run again to find step, tensor and rows; with `debug` the step is run under
    jax's NaN checks, too. `check_determinism` runs the first chunk twice and compares bits.

    With a `mesh` (`make_mesh(data=...)`) the batch is spread over its "data" axis, for one large
    model on many devices, also of several processes (`vae_jax.processes`): all of them train, the
    first one writes.

    Raises:
        TypeError, ValueError: data, settings or folder are not as they must be.
        FileNotFoundError: there is nothing to resume in `run_dir`.
        BlockingIOError: another process is training in `run_dir`.
        FloatingPointError: a term or a parameter stopped being finite; the last good state has
            been saved. Or bits differ under `check_determinism`.
        NotSaved: the end could not be saved; the error has the state.
        Interrupted: after Ctrl-C or SIGTERM, once the running chunk is finished and saved.
    """
    check_key(rng)
    num_steps, beta = check_count("num_steps", num_steps), check_number("beta", beta)
    if beta < 0:
        raise ValueError(f"beta must be at least 0, got {beta}.")
    check_count("chunk_steps", chunk_steps)
    data = _check_data(vae, data, batch_fn, rng, mesh)
    folder = None if run_dir is None else Path(run_dir)
    config = run_config(
        vae, loss_fn, beta, num_steps, rng, settings,
        None if folder is None or isinstance(data, Stream) else data,
    )  # fmt: skip
    rng_init, rng_run = jax.random.split(rng)
    start = partial(starting(mesh), rng_init, vae.init, loss_fn, optimizer)
    with ExitStack() as stack:
        open_run(stack, folder, resume, config)
        stand = restore(folder if resume else None, jax.eval_shape(start), config, mesh)
        lengths = chunk_lengths(stand.step, num_steps - stand.step, chunk_steps)
        feed = _feed(stack, vae, data, batch_fn, rng_run, stand.step, lengths, mesh)
        state, program = compile_run(
            start if stand.state is None else partial(_same, stand.state),
            lambda length: (rng_run, feed.shapes(length), jnp.float32(beta)),
            feed.batch_fn, lengths[0] if lengths else 0, mesh,
        )  # fmt: skip
        keeper = None
        if folder and is_first():
            keeper = stack.enter_context(Keeper(folder, config, stand.history))
        if on_chunk and stand.state is None:
            on_chunk(state)
        loop = Loop(
            program, feed, rng_run, jnp.float32(beta), lengths, folder, keeper,
            on_chunk, log, debug, check_determinism, progress,
        )  # fmt: skip
        history = list(stand.history)
        state, seconds = train(loop, state, history)
    return Fit(state, _joined(history), seconds, sum(lengths) / max(seconds, 1e-9))


def _check_data(vae: VAE, data: Any, batch_fn: BatchFn | None, rng: Key, mesh: Mesh | None) -> Any:
    """The data as the run will use it; a stream is looked at when it is read."""
    if isinstance(data, Stream):
        if mesh is not None:
            raise ValueError(
                "A stream over a mesh is for train_stream, with place=...; give fit one of them."
            )
        return data
    if batch_fn is None:
        raise ValueError(
            "Give fit a batch_fn, such as array_batches(128); only a Stream needs none."
        )
    return check_inputs(vae, data, batch_fn, rng)


def _feed(
    stack: ExitStack,
    vae: VAE,
    data: Any,
    batch_fn: BatchFn | None,
    rng: Key,
    step: int,
    lengths: list[int],
    mesh: Mesh | None,
) -> Feed:
    if isinstance(data, Stream):
        return stack.enter_context(stream_feed(vae, data, batch_fn, rng, step, lengths))
    assert batch_fn is not None  # _check_data has seen to it
    if mesh is not None:
        return array_feed(everywhere(mesh, data), shard_batches(batch_fn, mesh))
    return array_feed(data, batch_fn)


def _same(state: TrainState) -> TrainState:
    return state


def _joined(history: list[Series]) -> Series:
    names = history[0] if history else {}
    return {name: np.concatenate([part[name] for part in history]) for name in names}
