"""Train a whole table of Swiss-roll VAEs as one program: what beta, seed and rate each do."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vae_jax as vj
from experiments import sweep_figures
from experiments.command import run
from experiments.quality import distance_and_coverage, latent_points
from vae_jax.checkpoint import save_arrays, write_atomic
from vae_jax.checks import check_count
from vae_jax.data.swiss_roll import swiss_roll
from vae_jax.devices import use_all_cores
from vae_jax.run_folder import create, save_run
from vae_jax.schedules import SCHEDULES
from vae_jax.sweep import Problem, Row, Sweep, check_table, product, replica, sweep

SHAPES = ("hidden_dim", "latent_dim", "batch_size")
DEFAULT_GRID = f"beta={','.join(f'{beta:.3g}' for beta in np.logspace(-4, 1, 8))} seed=0..7"
GRID_SIZE = 20


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    grid: str = DEFAULT_GRID
    """Values of every setting that varies, e.g. "beta=1e-3,1e-2 seed=0..31 hidden_dim=32,64".
    Settings: beta, seed, learning_rate, the schedule's numbers (one compile for all);
    hidden_dim, latent_dim, batch_size (a compile for each)."""
    steps: int = 1000
    """Training steps."""
    hidden_dim: int = 32
    """Width of the three hidden layers, in units, where the grid does not set it."""
    schedule: str = "constant"
    """Of beta: constant, linear_warmup, cyclical, sigmoid."""
    out: Path = Path("results/sweep")
    """Folder of the sweep. An older one in it is moved aside."""


def parse_grid(text: str) -> list[Row]:
    """The table of "name=value,value name=first..last": every combination.

    Raises:
        ValueError: a word is not of that form, or a name comes twice.
    """
    axes: dict[str, list[Any]] = {}
    for word in text.split():
        name, _, values = word.partition("=")
        if not name.isidentifier() or not values or name in axes:
            raise ValueError(
                f"{word!r} in --grid is not name=value,value or name=first..last"
                f"{', or names a setting twice' if name in axes else ''}."
            )
        axes[name] = [value for part in values.split(",") for value in _values(part, word)]
    if not axes:
        raise ValueError("--grid is empty; give it at least one setting, e.g. seed=0..7.")
    return product(**axes)


def _values(part: str, word: str) -> list[Any]:
    if found := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", part):
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise ValueError(f"{part} in --grid is empty: its last number is below its first.")
        if last - first >= 100_000:
            raise ValueError(f"{part} in --grid has {last - first + 1:,} values; 100,000 at most.")
        return list(range(first, last + 1))
    try:
        return [int(part) if re.fullmatch(r"-?\d+", part) else float(part)]
    except ValueError:
        raise ValueError(f"{part!r} in {word!r} of --grid is not a number.") from None


def problem(hidden_dim: int = 32, latent_dim: int = 2, batch_size: int = 128) -> Problem:
    """The Swiss roll's VAE in the teaching form."""
    hidden = (check_count("hidden_dim", hidden_dim),) * 3
    vae = vj.build_vae(
        vj.MLPEncoder(latent_dim, hidden),
        vj.MLPDecoder(2, hidden),
        likelihood=vj.squared_error(),
        prior=vj.standard_normal(latent_dim),
        data_shape=(2,),
    )
    return Problem(vae, vj.make_teaching(vae), vj.swiss_roll_batches(batch_size))


def measure(result: Sweep) -> list[dict[str, Any]]:
    """What the tables and figures say of each replica."""
    points = swiss_roll(jax.random.key(0), 2_000)
    measured = []
    for index in range(len(result.table)):
        vae, params = replica(result, index)
        rates = np.asarray(vj.kl_per_dim(vae, params, points))
        grid = np.asarray(
            vj.decode_mean(vae, params, latent_points(GRID_SIZE, 2.0, vae.prior.latent_dim))
        )
        distance, coverage = distance_and_coverage(grid)
        last = {name: float(v[index, -100:].mean()) for name, v in result.metrics.items()}
        measured.append(
            last
            | {"rates": rates, "rate": rates.sum(), "active": int((rates > 0.1).sum())}
            | {"grid": grid, "grid distance": distance, "grid coverage": coverage}
        )
    return measured


def save_best(result: Sweep, measured: list[dict[str, Any]], folder: Path) -> int:
    """Writes the replica that covers the roll best from the prior's grid as a run; its row."""
    alive = [index for index in range(len(measured)) if index not in result.frozen]
    if not alive:
        raise FloatingPointError("No replica of the sweep stayed finite: lower the learning rate.")
    best = max(alive, key=lambda i: measured[i]["grid coverage"] - measured[i]["grid distance"])
    vae, params = replica(result, best)
    series = {name: values[best] for name, values in result.metrics.items()}
    save_run(folder, vae, params, series, objective="make_teaching", settings=result.table[best])
    return best


def main(settings: Settings) -> None:
    if settings.schedule not in SCHEDULES:
        raise ValueError(f"--schedule is one of {', '.join(SCHEDULES)}; got {settings.schedule!r}.")
    table = [{"hidden_dim": settings.hidden_dim} | row for row in parse_grid(settings.grid)]
    use_all_cores()
    schedule = SCHEDULES[settings.schedule]
    check_count("steps", settings.steps)
    check_table(problem, table, schedule)
    shapes = [{name: row[name] for name in SHAPES if name in row} for row in table]
    for shape in [dict(pairs) for pairs in {tuple(each.items()) for each in shapes}]:
        problem(**shape)
    if moved := create(
        settings.out, {"kind": "sweep", "vae": {}, "settings": {"grid": settings.grid}}
    ):
        print(f"The older sweep in {settings.out} is now {moved}.")
    result = sweep(
        problem, table, num_steps=settings.steps, schedule=schedule,
        chunk_steps=max(1, settings.steps // 10),
    )  # fmt: skip
    for index, step in result.frozen.items():
        print(f"replica {index} ({table[index]}) stopped being finite at step {step}: frozen.")
    measured = measure(result)
    best = save_best(result, measured, settings.out / "best")
    columns = {
        name: np.array([row[name] or 0.0 for row in result.table]) for name in result.table[0]
    }
    save_arrays(settings.out / "metrics.npz", {**columns, **result.metrics})
    sweep_figures.draw_all(settings.out, result.table, measured)
    text = sweep_figures.table(result.table, measured, settings.steps)
    write_atomic(settings.out / "table.md", text.encode())
    print(f"{text}\nbest: replica {best}, saved as the run {settings.out / 'best'}")


if __name__ == "__main__":
    run(main, Settings)
