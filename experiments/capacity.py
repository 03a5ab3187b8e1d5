"""What width and latent dimension do: latent grids and numbers over several seeds of each."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import vae_jax as vj
from experiments import figures, saved_run
from experiments.command import run
from experiments.quality import distance_and_coverage, latent_points
from vae_jax.checkpoint import save_arrays, write_atomic
from vae_jax.checks import check_count, check_counts
from vae_jax.progress import show_progress

BETA, BATCH, RATE, GRID = 0.01, 128, 1e-3, 20
MEASURES = ("loss", "recon", "kl", "sample distance", "sample coverage", "grid distance",
            "grid coverage", "active dims")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    widths: tuple[int, ...] = (32, 256, 1024)
    """Widths of the three hidden layers, in units."""
    latent_dims: tuple[int, ...] = (1, 2, 4)
    """Latent dimensions."""
    seeds: int = 4
    """Replicas of each, trained as one program."""
    steps: int = 1000
    """Training steps."""
    out: Path = Path("results/capacity")
    """Folder for the figure and the table. Cells already there are not trained again."""


def train_cell(width: int, latent_dim: int, seeds: int, steps: int) -> dict[str, Any]:
    """`seeds` replicas of one width and latent dimension: measures [R], grids [R, n^2, 2]."""
    vae = vj.build_vae(
        vj.MLPEncoder(latent_dim, (width,) * 3),
        vj.MLPDecoder(2, (width,) * 3),
        likelihood=vj.squared_error(),
        prior=vj.standard_normal(latent_dim),
        data_shape=(2,),
    )
    loss_fn, optimizer = vj.make_teaching(vae), optax.adam(RATE)
    rng_init, rng_run, rng_test = jax.random.split(jax.random.key(0), 3)
    init = jax.vmap(lambda rng: vj.init_train_state(rng, vae.init, loss_fn, optimizer))
    states, rngs = init(jax.random.split(rng_init, seeds)), jax.random.split(rng_run, seeds)
    scan, batch_fn, chunk = vj.replicate(vj.train_scan), vj.swiss_roll_batches(BATCH), steps // 10
    history: list[Any] = []
    with show_progress(steps, 0, f"width {width}, latent {latent_dim}") as report:
        while (done := sum(part["loss"].shape[1] for part in history)) < steps:
            length = min(max(chunk, 1), steps - done)
            states, metrics = scan(
                states, rngs, None, jnp.full(seeds, BETA), batch_fn=batch_fn, num_steps=length
            )
            history.append(jax.device_get(metrics))
            report(done + length, history[-1])
    last = {k: np.concatenate([part[k] for part in history], axis=1) for k in history[0]}
    measures = {name: last[name][:, -100:].mean(axis=1) for name in ("loss", "recon", "kl")}
    return measures | evaluate_cell(vae, states.params, rng_test)


def evaluate_cell(vae: vj.VAE, params: Any, rng: Any) -> dict[str, Any]:
    """Distances, coverages, active dimensions, each [R], and decoded grids [R, n^2, 2]."""
    rng_points, rng_prior = jax.random.split(rng)
    points = vj.swiss_roll(rng_points, 10_000)
    latents = vj.sample_prior(vae, {}, rng_prior, 2_000)

    decode = jax.jit(jax.vmap(lambda params, z: vj.decode_mean(vae, params, z), (0, None)))
    rates = jax.vmap(lambda params: vj.kl_per_dim(vae, params, points))(params)
    samples = np.asarray(decode(params, latents))
    grids = []
    for replica, rate in enumerate(np.asarray(rates)):
        dims = tuple(int(dim) for dim in np.sort(np.argsort(-rate)[:2]))
        plane = latent_points(GRID, 2.0, vae.prior.latent_dim, dims if len(dims) == 2 else (0, 1))
        grids.append(np.asarray(decode(params, plane))[replica])
    by_sample = np.array([distance_and_coverage(points) for points in samples])
    by_grid = np.array([distance_and_coverage(points) for points in grids])
    return {
        "sample distance": by_sample[:, 0],
        "sample coverage": by_sample[:, 1],
        "grid distance": by_grid[:, 0],
        "grid coverage": by_grid[:, 1],
        "active dims": (np.asarray(rates) > 0.1).sum(axis=1),
        "grids": np.stack(grids),
    }


def table(cells: dict[tuple[int, int], dict[str, Any]], settings: Settings) -> str:
    """The measures as markdown, mean and standard error over seeds."""
    rows = ["| width | latent | " + " | ".join(MEASURES) + " |", "|--:" * (2 + len(MEASURES)) + "|"]
    for (width, latent_dim), cell in cells.items():
        entries = []
        for name in MEASURES:
            values = np.asarray(cell[name], np.float64)
            error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
            entries.append(f"{values.mean():.4f} ± {error:.4f}")
        rows.append(f"| {width} | {latent_dim} | " + " | ".join(entries) + " |")
    note = (
        f"Mean ± standard error over {settings.seeds} seeds, {settings.steps} steps; loss, recon "
        f"(squared error) and kl are means over dimensions, distances in units of the data, active "
        f"dims those with a KL above 0.1 nats."
    )
    return "\n".join([*rows, "", note, ""])


def picture(cells: dict[tuple[int, int], dict[str, Any]]) -> Figure:
    """The first seed's decoded grid for every width (rows) and latent dimension (columns)."""
    widths, latent_dims = (sorted({key[axis] for key in cells}) for axis in (0, 1))
    figure = Figure(figsize=(8, 2.6 * len(widths) + 0.5))
    axes = figure.subplots(len(widths), len(latent_dims), squeeze=False)
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.75 / (2.6 * len(widths) + 0.5), 0.03, 0.14)
    points = saved_run.roll_points(0, 2_000)
    for (width, latent_dim), cell in cells.items():
        panel = axes[widths.index(width), latent_dims.index(latent_dim)]
        panel.scatter(*points.T, s=1, lw=0, color=figures.GREY)
        figures.draw_grid(panel, cell["grids"][0], latent_dim == 1, dot=5)
        figures.bare(panel, f"width {width}, latent {latent_dim}: loss {cell['loss'][0]:.4f}")
    figure.suptitle(
        "Wide decoders bend the grid onto the roll; one latent dimension cannot", fontsize=12
    )
    return figure


def read_cell(path: Path) -> dict[str, Any]:
    """The content of a cell's file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in (*MEASURES, "grids")}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to train it again.") from error


def main(settings: Settings) -> None:
    check_count("seeds", settings.seeds)
    check_count("steps", settings.steps)
    if not check_counts("widths", settings.widths) or not check_counts(
        "latent_dims", settings.latent_dims
    ):
        raise ValueError("--widths and --latent-dims need at least one number each.")
    settings.out.mkdir(parents=True, exist_ok=True)
    cells = {}
    for width in settings.widths:
        for latent_dim in settings.latent_dims:
            name = (
                f"width{width}_latent{latent_dim}_seeds{settings.seeds}_steps{settings.steps}.npz"
            )
            path = settings.out / name
            if not path.exists():
                save_arrays(path, train_cell(width, latent_dim, settings.seeds, settings.steps))
            cells[width, latent_dim] = read_cell(path)
    figures.save(picture(cells), settings.out / "capacity.png")
    write_atomic(settings.out / "table.md", table(cells, settings).encode())
    print(table(cells, settings) + f"\n{settings.out}")


if __name__ == "__main__":
    run(main, Settings)
