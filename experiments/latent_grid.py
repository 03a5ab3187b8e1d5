"""Decode a grid of latents with a saved run, and draw it over the Swiss roll."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

import vae_jax as vj
from experiments import figures, saved_run
from experiments.command import run
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
    dims: tuple[int, int] = (0, 1)
    """The plane's two latent dimensions, counted from 0; the others stay at 0."""
    out: Path | None = None
    """The PNG to write. Default: latent_grid.png in the folder of the run."""


def main(settings: Settings) -> None:
    saved = saved_run.load(settings.run)
    size, latent_dim = check_count("size", settings.size, 2), saved.vae.prior.latent_dim
    extent = check_positive("extent", settings.extent)
    if size > 1000:
        raise ValueError(f"size must be at most 1000 (a million points), got {size}.")
    latents = latent_points(size, extent, latent_dim, settings.dims)
    grid = np.asarray(vj.decode_mean(saved.vae, saved.params, latents))
    if not np.isfinite(grid).all():
        raise ValueError(f"The decoder overflows at extent {extent:g}; the prior lives within 4.")
    points = saved_run.roll_points(0, 10_000)
    if latent_dim == 1:
        figure = figures.latent_line(grid, points, extent)
    else:
        figure = figures.latent_grid(grid, points, extent, settings.dims)
    out = settings.out or settings.run / "latent_grid.png"
    figures.save(figure, out)
    distance, coverage = distance_and_coverage(grid)
    print(f"distance to the roll {distance:.4f}, coverage {coverage:.1%}: {out}")


if __name__ == "__main__":
    run(main, Settings)
