"""What do saving and the check for broken numbers cost, beside a run without them?"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import optax

import vae_jax as vj
from experiments.command import run
from vae_jax import keeper, programs
from vae_jax.checks import check_count
from vae_jax.train import train_scan


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    steps: int = 4000
    """Steps of each run."""
    hidden_dim: int = 256
    """Width of the three hidden layers, in units."""
    rounds: int = 5
    """Runs of each kind, in turn; medians of the ratios within a round are shown."""


def wall(settings: Settings, problem: vj.Problem, folder: Path | None) -> float:
    """Seconds from the first step to the end of `fit`, compiling not counted."""
    began: list[float] = []

    def on_chunk(state: vj.TrainState) -> None:
        began.append(time.perf_counter())

    vj.fit(
        problem.vae, problem.loss_fn, optax.adam(1e-3), None, jax.random.key(0),
        batch_fn=problem.batch_fn, num_steps=settings.steps, run_dir=folder, progress=False,
        on_chunk=on_chunk,
    )  # fmt: skip
    return time.perf_counter() - began[0]


def build(hidden_dim: int) -> vj.Problem:
    hidden = (hidden_dim,) * 3
    vae = vj.build_vae(
        vj.MLPEncoder(2, hidden), vj.MLPDecoder(2, hidden), likelihood=vj.squared_error(),
        prior=vj.standard_normal(2), data_shape=(2,),
    )  # fmt: skip
    return vj.Problem(vae, vj.make_teaching(vae), vj.swiss_roll_batches(128))


def check_seconds(problem: vj.Problem, settings: Settings) -> tuple[float, float]:
    """Seconds of a chunk of 500 steps, and of one look at all its parameters."""
    state = vj.init_train_state(
        jax.random.key(0), problem.vae.init, problem.loss_fn, optax.adam(1e-3)
    )
    options: dict[str, Any] = {"batch_fn": problem.batch_fn, "num_steps": 500}
    look = jax.jit(programs.all_finite)

    def timed(fn: Any, *arguments: Any, **more: Any) -> float:
        jax.block_until_ready(fn(*arguments, **more))
        times = []
        for _ in range(settings.rounds):
            began = time.perf_counter()
            jax.block_until_ready(fn(*arguments, **more))
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    chunk = timed(train_scan, state, jax.random.key(1), None, 0.01, **options)
    return chunk, timed(look, state.params)


def main(settings: Settings) -> None:
    check_count("steps", settings.steps)
    check_count("rounds", settings.rounds)
    problem = build(settings.hidden_dim)
    often, rare = [], []
    for _ in range(settings.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            bare = wall(settings, problem, None)
            rare.append(wall(settings, problem, Path(scratch) / "rare") / bare)
            usual, keeper.SAVE_SECONDS = keeper.SAVE_SECONDS, -1.0
            try:
                often.append(wall(settings, problem, Path(scratch) / "often") / bare)
            finally:
                keeper.SAVE_SECONDS = usual
    chunk, look = check_seconds(problem, settings)
    print(f"one checkpoint, at the end: {statistics.median(rare) - 1:+.1%} of the bare run's time")
    print(f"a checkpoint at every chunk: {statistics.median(often) - 1:+.1%}")
    print(f"the look at all parameters: {look / chunk:.3%} of a chunk of 500 steps")


if __name__ == "__main__":
    run(main, Settings)
