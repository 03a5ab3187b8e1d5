"""The figure of `objectives`: one decoded latent grid for each kind of training."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import GREY, bare, draw_grid, save
from experiments.quality import roll_curve

COLUMNS = 6


def draw(path: Path, found: dict[str, dict[str, Any]]) -> None:
    """Writes the figure: `found` holds grid [n^2, D] and nll [R] by "data: kind"."""
    rows = -(-len(found) // COLUMNS)
    height = 1.5 * rows + 0.6
    figure = Figure(figsize=(8, height))
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.75 / height, 0.06, 0.28)
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    for panel, (name, result) in zip(panels, found.items(), strict=False):
        grid, title = result["grid"], name.split(": ", 1)[1]
        if grid.shape[1] == 2:
            panel.plot(*roll_curve(300).T, color=GREY, lw=1)
            draw_grid(panel, grid, dot=2)
            bare(panel, "")
        else:
            mosaic(panel, grid)
        panel.set_title(f"{title}\n{result['nll'].mean():.2f} nats", fontsize=8, pad=2)
    figure.suptitle(
        "Decoded latent grids and test NLL of one network under many objectives", fontsize=12
    )
    save(figure, path)


def mosaic(axes: Axes, images: Any) -> None:
    """Square images [n^2, H * H] as one picture, rows from the first latent dimension."""
    side, pixels = round(len(images) ** 0.5), round(images.shape[1] ** 0.5)
    tiles = np.reshape(images, (side, side, pixels, pixels)).transpose(0, 2, 1, 3)
    axes.imshow(tiles.reshape(side * pixels, -1), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
