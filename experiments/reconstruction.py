"""Draw points of the Swiss roll beside their reconstructions by a saved run."""

import dataclasses
from pathlib import Path

import numpy as np
import tyro

import vae_jax as vj
from experiments import figures, saved_run
from experiments.command import run


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    run: tyro.conf.Positional[Path]
    """Folder of the saved run."""
    points: int = 1000
    """How many fresh points to reconstruct."""
    seed: int = 0
    """Seed of the key that draws them."""
    out: Path | None = None
    """The PNG to write. Default: reconstruction.png in the folder of the run."""


def main(settings: Settings) -> None:
    saved = saved_run.load(settings.run)
    points = saved_run.roll_points(settings.seed, settings.points)
    reconstructions = np.asarray(vj.reconstruct(saved.vae, saved.params, points))
    out = settings.out or settings.run / "reconstruction.png"
    figures.save(figures.reconstruction(points, reconstructions), out)
    distance = np.linalg.norm(points - reconstructions, axis=1).mean()
    print(f"mean distance {distance:.4f} over {len(points):,} points: {out}")


if __name__ == "__main__":
    run(main, Settings)
