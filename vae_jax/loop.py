"""The loop of a run: chunks of `train_scan`, and between them progress, checks and files."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.breakage import advice, first_broken
from vae_jax.feed import Feed
from vae_jax.interrupts import SIGNALS, Interrupted, interrupts
from vae_jax.keeper import Keeper
from vae_jax.metrics_file import Series
from vae_jax.processes import any_process, any_signal, is_first, say, together
from vae_jax.programs import Program
from vae_jax.progress import show_nothing, show_progress
from vae_jax.replay import batch_rows, find_broken, with_nan_checks
from vae_jax.train import TrainState
from vae_jax.types import Array, Key, Metrics

Log = Callable[[int, Mapping[str, float]], None]
"""Called after each chunk with the step reached and the chunk's mean of each metric."""


class Loop(NamedTuple):
    """What does not change while a run goes on."""

    program: Callable[[int], Program]
    feed: Feed
    rng: Key
    beta: Array
    lengths: list[int]
    """Of the chunks that are left."""
    folder: Path | None
    keeper: Keeper | None
    """None where nothing is written by this process."""
    on_chunk: Callable[[TrainState], None] | None
    log: Log | None
    debug: bool
    twice: bool
    """Whether the first chunk is run twice, and its bits compared."""
    progress: bool


def train(loop: Loop, state: TrainState, history: list[Series]) -> tuple[TrainState, float]:
    """The state after all chunks, and the seconds that they took; `history` gains their metrics.

    Raises:
        FloatingPointError, Interrupted, OSError: as `fit`.
    """
    step, seconds = int(state.step), 0.0
    total = step + sum(loop.lengths)
    show = show_progress if loop.progress and is_first() else show_nothing
    with together(), interrupts() as interrupted, show(total, step) as report:
        for length in loop.lengths:
            data = loop.feed.data(length)
            after, metrics, sound, taken = _run(loop, length, state, data)
            if loop.twice and step == total - sum(loop.lengths):
                _compare(_run(loop, length, state, data)[:2], (after, metrics), length)
            if broken := _broken(metrics, sound, after, step):
                _finish(loop, state)
                _explain(loop, state, data, length, broken)
            state, seconds, step = after, seconds + taken, step + length
            history.append(metrics)
            report(step, metrics)
            if loop.keeper:
                loop.keeper.add(metrics, state)
            if loop.log and is_first():
                loop.log(step, {name: float(values.mean()) for name, values in metrics.items()})
            if loop.on_chunk:
                loop.on_chunk(state)
            number = any_signal(interrupted(), SIGNALS)
            if number or step == total:
                _finish(loop, state)
            if number:
                any_process(True)  # nobody leaves, and is missed, before the first has written
                raise Interrupted(step, loop.folder, number)
    return state, seconds


def _run(
    loop: Loop, length: int, state: TrainState, data: Any
) -> tuple[TrainState, Series, bool, float]:
    """The state after the chunk, its metrics, whether its parameters are finite, its seconds."""
    began = time.perf_counter()
    result = loop.program(length)(state, loop.rng, data, loop.beta)
    state, metrics, sound = jax.block_until_ready(result)
    taken = time.perf_counter() - began
    return state, {n: np.asarray(metrics[n]) for n in _columns(metrics)}, bool(sound), taken


def _broken(metrics: Series, sound: bool, after: TrainState, step: int) -> str | None:
    return first_broken(metrics, {} if sound else after.params, step)


def _finish(loop: Loop, state: TrainState) -> None:
    if loop.keeper:
        loop.keeper.finish(state)


def _explain(loop: Loop, state: TrainState, data: Any, length: int, broken: str) -> None:
    """Raises FloatingPointError: what broke first, in which tensor, on which rows, and advice."""
    step, cause = int(state.step), None
    arguments, batch_fn = (state, loop.rng, data, loop.beta), loop.feed.batch_fn
    if jax.process_count() == 1 and (
        found := find_broken(*arguments, batch_fn=batch_fn, num_steps=length)
    ):
        at, name = found
        broken += f". Run again, step {step + at + 1} broke first, at {name}."
        broken += batch_rows(batch_fn, data, loop.rng, step + at)
        if loop.debug and (cause := with_nan_checks(*arguments, batch_fn=batch_fn, step=at)):
            broken += f" jax's check: {str(cause).splitlines()[0]}"
    raise FloatingPointError(advice(broken.rstrip("."), loop.folder, step)) from cause


def _compare(one: tuple[Any, Any], other: tuple[Any, Any], length: int) -> None:
    """Raises FloatingPointError unless both ends of the first chunk have the same bits."""
    ends = [jax.tree_util.tree_leaves_with_path(end) for end in (one, other)]
    for (path, left), (_, right) in zip(*ends, strict=True):
        if np.asarray(left).tobytes() != np.asarray(right).tobytes():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise FloatingPointError(
                f"The first chunk of {length} steps, run twice, gave different bits, first in "
                f"{name}: this machine's program is not deterministic. On a GPU set "
                f"XLA_FLAGS=--xla_gpu_deterministic_ops=true."
            )
    say(f"The first chunk of {length} steps, run twice, gave the same bits.")


def _columns(metrics: Metrics) -> list[str]:
    """Loss first and the terms after it: a jitted function returns its dict sorted."""
    first = [name for name in ("loss", "recon", "kl") if name in metrics]
    return first + [name for name in metrics if name not in first]
