"""Decode a grid of latents with a saved run: over the Swiss roll, or as images."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

import vae_jax as vj
from experiments import figures, images_figures, saved_run
from experiments.command import run
from experiments.image_pictures import decoder
from experiments.image_task import values
from experiments.quality import distance_and_coverage, latent_points
from vae_jax.checks import check_count, check_positive


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    run: tyro.conf.Positional[Path]
    """Folder of the saved run."""
    size: int = 20
    """Grid points along each side (size^2 in all, also along the line of a 1-D latent)."""
    extent: float = 2.0
    """The grid spans [-extent, extent], in standard deviations of the prior."""
    dims: tuple[int, int] | None = None
    """The plane's two latent dimensions, counted from 0; the others stay at 0. Default: the first
    two, of an image run the two with the highest rate."""
    label: int = 0
    """The class that a conditional VAE decodes."""
    out: Path | None = None
    """The PNG to write. Default: latent_grid.png in the folder of the run."""


def main(settings: Settings) -> None:
    saved = saved_run.load(settings.run)
    size, latent_dim = check_count("size", settings.size, 2), saved.vae.prior.latent_dim
    extent = check_positive("extent", settings.extent)
    if size > 1000:
        raise ValueError(f"size must be at most 1000 (a million points), got {size}.")
    if saved_run.of_images(saved):
        return images(settings, saved)
    dims = settings.dims or (0, 1)
    latents = latent_points(size, extent, latent_dim, dims)
    grid = np.asarray(vj.decode_mean(saved.vae, saved.params, latents))
    if not np.isfinite(grid).all():
        raise ValueError(f"The decoder overflows at extent {extent:g}; the prior lives within 4.")
    points = saved_run.roll_points(0, 10_000)
    if latent_dim == 1:
        figure = figures.latent_line(grid, points, extent)
    else:
        figure = figures.latent_grid(grid, points, extent, dims)
    out = settings.out or settings.run / "latent_grid.png"
    figures.save(figure, out)
    distance, coverage = distance_and_coverage(grid)
    print(f"distance to the roll {distance:.4f}, coverage {coverage:.1%}: {out}")


def images(settings: Settings, saved: vj.Run) -> None:
    """The same for an image run: at most 40 x 40 decoded images."""
    task, latent_dim = saved_run.image_task(saved), saved.vae.prior.latent_dim
    if settings.size > 40:
        raise ValueError(f"size must be at most 40 for images, got {settings.size}.")
    part = tuple(None if rows is None else rows[:500] for rows in task.train)
    rates = np.asarray(vj.kl_per_dim(saved.vae, saved.params, values(task, part)))
    order = [int(dim) for dim in np.argsort(-rates)[:2]]
    dims = settings.dims or ((order[0], order[1]) if latent_dim > 1 else (0, 1))
    latents = latent_points(settings.size, settings.extent, latent_dim, dims)
    if task.conditional and not 0 <= settings.label < task.num_classes:
        raise ValueError(f"label must be from 0 to {task.num_classes - 1}, got {settings.label}.")
    labels = np.full(len(latents), settings.label)
    grid = decoder(saved.vae, saved.params, task)(latents, labels)
    if not np.isfinite(grid).all():
        raise ValueError(
            f"The decoder overflows at extent {settings.extent:g}; take a smaller one."
        )
    out = settings.out or settings.run / "latent_grid.png"
    shown = dims if latent_dim > 1 else (0,)
    figures.save(images_figures.plane(grid, shown, settings.extent), out)
    print(f"{settings.size} x {settings.size} decoded latents: {out}")


if __name__ == "__main__":
    run(main, Settings)
