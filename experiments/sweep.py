"""Train a whole table of Swiss-roll VAEs as one program: what beta, seed and rate each do."""

import dataclasses
import re
from functools import partial
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
from vae_jax.devices import use_all_cores
from vae_jax.processes import initialize, is_first, say
from vae_jax.replicas import Problem, Row
from vae_jax.results import Sweep, replica
from vae_jax.run_folder import save_run
from vae_jax.schedules import SCHEDULES
from vae_jax.sweep import sweep
from vae_jax.table import product

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
    resume: bool = False
    """Go on with the sweep in that folder, on whatever devices there are."""
    shard: str | None = None
    """"i/n": train only the i-th of n parts of the table (1 to n), in the folder
    OUT.shard-i-of-n; `python -m experiments.merge_shards OUT` joins them."""
    distributed: bool = False
    """Join the other processes of this job, found by SLURM, Open MPI, Kubernetes or Kubeflow."""
    coordinator: str | None = None
    """Where nothing finds them: host:port of process 0; needs the next two, too."""
    num_processes: int | None = None
    """Number of processes of this job."""
    process_id: int | None = None
    """Which of them this is, from 0."""
    timeout: float = 60.0
    """Seconds in which the processes must have found each other."""


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


def decoded_grids(result: Sweep) -> dict[int, Any]:
    """The decoded latent grid [GRID_SIZE^2, 2] of every replica, a program for each group."""
    grids: dict[int, Any] = {}
    for vae, indices, params in result.groups:
        points = latent_points(GRID_SIZE, 2.0, vae.prior.latent_dim)
        decode = jax.jit(jax.vmap(partial(vj.decode_mean, vae), in_axes=(0, None)))
        grids |= dict(zip(indices, np.asarray(decode(params, points)), strict=True))
    return grids


def measure(result: Sweep) -> list[dict[str, Any]]:
    """What the tables and figures say of each replica."""
    grids, measured = decoded_grids(result), []
    for index in range(len(result.table)):
        rates = result.rates[index][np.isfinite(result.rates[index])]
        distance, coverage = distance_and_coverage(grids[index])
        last = {name: float(v[index, -100:].mean()) for name, v in result.metrics.items()}
        measured.append(
            last
            | {"rates": rates, "rate": rates.sum(), "active": int(result.active[index])}
            | {"grid": grids[index], "grid distance": distance, "grid coverage": coverage}
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


def join_processes(settings: Settings) -> None:
    """Finds the other processes of this job, if there are to be any; all cores become devices."""
    given = (settings.coordinator, settings.num_processes, settings.process_id)
    use_all_cores()
    if settings.distributed or any(value is not None for value in given):
        initialize(*given, timeout=settings.timeout)
        say(f"{jax.process_count()} processes, {jax.device_count()} devices.")


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """The numbers of "i/n".

    Raises:
        ValueError: the text is not of that form.
    """
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)):
        raise ValueError(f"--shard is i/n, such as 2/4; got {text!r}.")
    return int(found[1]), int(found[2])


def train(settings: Settings) -> tuple[Path, Sweep]:
    """The trained sweep, or shard of it, and its folder."""
    if settings.schedule not in SCHEDULES:
        raise ValueError(f"--schedule is one of {', '.join(SCHEDULES)}; got {settings.schedule!r}.")
    table = [{"hidden_dim": settings.hidden_dim} | row for row in parse_grid(settings.grid)]
    check_count("steps", settings.steps)
    shard, folder = parse_shard(settings.shard), settings.out
    if shard:
        folder = folder.with_name(f"{folder.name}.shard-{shard[0]}-of-{shard[1]}")
    join_processes(settings)
    result = sweep(
        problem, table, num_steps=settings.steps, schedule=SCHEDULES[settings.schedule],
        chunk_steps=max(1, settings.steps // 10), shard=shard, run_dir=folder,
        resume=settings.resume,
    )  # fmt: skip
    return folder, result


def report(folder: Path, result: Sweep) -> None:
    """Writes the metrics, the best replica, the figures and the table of a sweep into `folder`."""
    for index, step in result.frozen.items():
        row = result.table[index]
        print(f"replica {index} ({row}) stopped being finite at step {step}: frozen.")
    columns = {
        name: np.array([row[name] or 0.0 for row in result.table]) for name in result.table[0]
    }
    found = {"rates": result.rates, "active": result.active}
    save_arrays(folder / "metrics.npz", {**columns, **found, **result.metrics})
    measured = measure(result)
    best = save_best(result, measured, folder / "best")
    sweep_figures.draw_all(folder, result.table, measured)
    text = sweep_figures.table(result.table, measured, result.metrics["loss"].shape[1])
    write_atomic(folder / "table.md", text.encode())
    print(f"{text}\nbest: replica {best}, saved as the run {folder / 'best'}")


def main(settings: Settings) -> None:
    folder, result = train(settings)
    if settings.shard:
        say(f"shard {settings.shard} is trained: {folder}")
    elif is_first():
        report(folder, result)


if __name__ == "__main__":
    run(main, Settings)
