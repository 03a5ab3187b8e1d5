"""Many small pictures in one figure. Nothing here imports jax."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Pictures = np.ndarray[Any, Any]

WIDTH = 8.0
"""Inches, at 100 dots each."""


def mosaic(pictures: Pictures, gap: int = 1) -> Pictures:
    """Pictures [R, C, H, W, channels] in [0, 1] as one [R', C', 3], white between them; one channel
    becomes grey, two red and green, and of four or more the first three are shown."""
    rows, columns, height, width, channels = pictures.shape
    if channels == 1:
        pictures = np.repeat(pictures, 3, axis=-1)
    elif channels == 2:
        pictures = np.concatenate([pictures, np.zeros_like(pictures[..., :1])], axis=-1)
    tiles = np.ones((rows, columns, height + gap, width + gap, 3), np.float32)
    tiles[:, :, :height, :width] = pictures[..., :3]
    joined = tiles.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), 3)
    return joined[: joined.shape[0] - gap, : joined.shape[1] - gap]


def grid_of(pictures: Pictures, columns: int) -> Pictures:
    """[N, H, W, C] in rows of `columns`, white where there are none left."""
    rows = -(-len(pictures) // columns)
    fill = np.ones((rows * columns - len(pictures), *pictures.shape[1:]), pictures.dtype)
    return np.concatenate([pictures, fill]).reshape(rows, columns, *pictures.shape[1:])


def show(axes: Axes, pictures: Pictures) -> None:
    """Draws the mosaic without axes."""
    axes.imshow(mosaic(pictures), interpolation="nearest", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def sheet(
    pictures: Pictures, title: str, *, rows: list[str] | None = None,
    columns: list[str] | None = None, width: float = WIDTH, left: float = 0.15,
) -> Figure:  # fmt: skip
    """A figure of one mosaic [R, C, H, W, channels], with labels for rows and columns."""
    num_rows, num_columns, high, wide = pictures.shape[:4]
    inner = width - left - 0.15
    body = inner * (num_rows * (high + 1)) / (num_columns * (wide + 1))
    top = 0.45 + 0.18 * title.count("\n") + (0.25 if columns else 0.0)
    height = body + top + 0.12
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, 0.12 / height, inner / width, body / height))
    show(axes, pictures)
    if rows:
        axes.set_yticks([(i + 0.5) * (high + 1) - 1 for i in range(num_rows)], rows, fontsize=9)
    if columns:
        axes.set_xticks([(i + 0.5) * (wide + 1) - 1 for i in range(num_columns)], columns)
        axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / height, va="top")
    return figure
