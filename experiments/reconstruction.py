"""Draw data beside their reconstructions by a saved run: points of the Swiss roll, or images."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

import vae_jax as vj
from experiments import figures, images_figures, saved_run
from experiments.command import run
from experiments.image_pictures import as_pictures
from experiments.image_task import values
from vae_jax.checks import check_count, check_seed

SHOWN = 40
"""Images that a figure has room for."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    run: tyro.conf.Positional[Path]
    """Folder of the saved run."""
    points: int = 1000
    """How many fresh points to reconstruct, or at most how many test images."""
    seed: int = 0
    """Seed of the key that draws the points, or the noise of images."""
    out: Path | None = None
    """The PNG to write. Default: reconstruction.png in the folder of the run."""


def main(settings: Settings) -> None:
    saved = saved_run.load(settings.run)
    if saved_run.of_images(saved):
        return images(settings, saved)
    points = saved_run.roll_points(settings.seed, settings.points)
    reconstructions = np.asarray(vj.reconstruct(saved.vae, saved.params, points))
    out = settings.out or settings.run / "reconstruction.png"
    figures.save(figures.reconstruction(points, reconstructions), out)
    distance = np.linalg.norm(points - reconstructions, axis=1).mean()
    print(f"mean distance {distance:.4f} over {len(points):,} points: {out}")


def images(settings: Settings, saved: vj.Run) -> None:
    """The same for the test images of an image run."""
    task = saved_run.image_task(saved)
    count = min(check_count("points", settings.points), SHOWN)
    part = tuple(None if rows is None else rows[:count] for rows in task.test)
    x = values(task, part, check_seed(settings.seed))
    rebuilt = as_pictures(task, vj.reconstruct(saved.vae, saved.params, x))
    originals = as_pictures(task, x[0] if task.conditional else x)
    out = settings.out or settings.run / "reconstruction.png"
    figures.save(images_figures.pairs(originals, rebuilt), out)
    error = np.square(originals - rebuilt).mean()
    print(f"mean squared error {error:.5f} a pixel over {len(originals):,} images: {out}")


if __name__ == "__main__":
    run(main, Settings)
