"""The figures of a run, drawn from the arrays in its folder. Nothing here imports jax.

800 pixels wide at most; colours that stay apart for colour-blind readers (Okabe and Ito's two,
viridis along the roll, blue-orange x lightness over the latent plane).
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

Points = np.ndarray[Any, Any]

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#B8B8B8"
DPI = 100
LIMIT = 1.15
"""Half the side of a picture of the roll, whose points lie within [-1, 1]."""


def draw_all(run_dir: Path) -> None:
    """Writes every figure of the run in `run_dir` from its arrays.npz and metrics.csv."""
    for draw in drawings(run_dir):
        draw()


def drawings(run_dir: Path) -> list[Callable[[], None]]:
    """One function for each figure, that draws and writes it; the animation, which takes as long
    as half of the others, comes first."""
    with np.load(run_dir / "arrays.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    points, means = arrays["points"], arrays["latent_means"]
    line = means.shape[1] == 1
    evolution = (arrays["evolution"], arrays["evolution_steps"], points, line)
    figures = {
        "latent_evolution": lambda: latent_evolution(*evolution),
        "data": lambda: data(points, arrays["angles"]),
        "loss": lambda: loss(run_dir),
        "reconstruction": lambda: reconstruction(arrays["originals"], arrays["reconstructions"]),
        "latent_grid": lambda: (latent_line if line else latent_grid)(arrays["grid"], points),
        "latent_space": lambda: latent_space(means, arrays["angles"]),
        "samples": lambda: samples(arrays["samples"], points),
    }

    def write(name: str) -> None:
        save(figures[name](), run_dir / f"{name}.png")

    return [
        lambda: animate(*evolution, run_dir / "latent_evolution.gif"),
        *(partial(write, name) for name in figures),
    ]


def draw_on_all_cores(run_dir: Path) -> None:
    """`draw_all`, shared with copies of this process where the system can fork.

    For a process without threads, such as this file run as a program.
    """
    todo, shares = drawings(run_dir), min(4, os.cpu_count() or 1)
    children = []
    for share in range(1, shares if hasattr(os, "fork") else 1):
        child = os.fork()
        if child == 0:
            for draw in todo[share::shares]:
                draw()
            os._exit(0)
        children.append(child)
    for draw in todo[:: 1 + len(children)]:
        draw()
    if any(os.waitpid(child, 0)[1] for child in children):
        raise OSError("a figure could not be drawn")


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as a PNG of its own size."""
    figure.savefig(path, dpi=DPI, pil_kwargs={"compress_level": 4})


def data(points: Points, angles: Points) -> Figure:
    """The training distribution, coloured by the position along the roll."""
    figure, (axes,) = _panels(1, (5.4, 5.0))
    dots = axes.scatter(*points.T, c=angles, s=3, lw=0, cmap="viridis")
    figure.colorbar(dots, ax=axes, label="angle t along the roll (radians)", shrink=0.85)
    _roll_axes(axes, f"{len(points):,} points of the Swiss roll")
    return figure


def loss(run_dir: Path) -> Figure:
    """The loss and the two terms it is the sum of, against the step."""
    config = json.loads((run_dir / "config.json").read_text())
    table = np.genfromtxt(run_dir / "metrics.csv", delimiter=",", names=True, ndmin=1)
    teaching, beta = config["objective"] == "make_teaching", config["beta"]
    terms = {
        "loss": (table["loss"], "black"),
        "squared error" if teaching else "-log p(x | z)": (
            table["recon"] if teaching else -table["recon"],
            BLUE,
        ),
        f"{beta:g} x KL": (beta * table["kl"], ORANGE),
    }
    figure, (axes,) = _panels(1, (8, 4.2))
    for name, (values, colour) in terms.items():
        axes.plot(table["step"], values, color=colour, lw=0.6, alpha=0.3)
        axes.plot(table["step"], _smooth(values), color=colour, lw=1.8, label=name)
    if all((values > 0).all() for values, _ in terms.values()):
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(np.median(values) for values, _ in terms.values()) / 4)
    unit = "mean over dimensions" if teaching else "nats per example"
    final = table["loss"][-100:].mean()
    axes.set(xlabel="training step", ylabel=f"loss ({unit})", xlim=(1, len(table) + 1))
    axes.set_title(f"Loss and its two terms; last {min(100, len(table))} steps: {final:.4f}")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    return figure


def reconstruction(originals: Points, reconstructions: Points) -> Figure:
    """Points beside their reconstructions, each joined to its original by a thin line."""
    figure, (left, right) = _panels(2, (8, 4.3))
    distance = np.linalg.norm(originals - reconstructions, axis=1).mean()
    left.scatter(*originals.T, s=5, lw=0, color=BLUE)
    _roll_axes(left, f"{len(originals):,} originals x")
    pairs = np.stack([originals, reconstructions], axis=1)
    right.add_collection(LineCollection(list(pairs), colors=GREY, linewidths=0.7))
    right.scatter(*originals.T, s=2, lw=0, color=BLUE, alpha=0.5)
    right.scatter(*reconstructions.T, s=5, lw=0, color=ORANGE)
    _roll_axes(right, f"their reconstructions; mean distance {distance:.3f}")
    return figure


def latent_grid(
    grid: Points, points: Points, extent: float = 2.0, dims: tuple[int, int] = (0, 1)
) -> Figure:
    """A regular grid in latent space, decoded over the real points."""
    figure, (axes, key) = _panels(2, (8, 4.6), widths=(3, 1.25))
    axes.scatter(*points.T, s=2, lw=0, color=GREY)
    draw_grid(axes, grid)
    size = round(len(grid) ** 0.5)
    _roll_axes(axes, f"Latent grid {size} x {size}, decoded: neighbours stay neighbours")
    plane = _plane(len(grid)) * extent
    cell = max(1.0, 7500 / len(grid))
    key.scatter(*plane.T, c=_colours(len(grid)), s=cell, lw=0, marker="s")
    first, second = (f"latent z{dim + 1} (prior's sd)" for dim in dims)
    key.set(xlabel=first, ylabel=second, aspect="equal", title="colour of a cell")
    return figure


def latent_line(line: Points, points: Points, extent: float = 2.0) -> Figure:
    """A line of latents, decoded over the real points: the grid of a one-dimensional latent."""
    figure, (axes,) = _panels(1, (5.4, 5.0))
    axes.scatter(*points.T, s=2, lw=0, color=GREY)
    z = np.linspace(-extent, extent, len(line))
    dots = axes.scatter(*line.T, c=z, s=8, lw=0, cmap="viridis")
    figure.colorbar(dots, ax=axes, label="latent z", shrink=0.85)
    _roll_axes(axes, "Latent line, decoded")
    return figure


def draw_grid(axes: Axes, grid: Points, line: bool = False, dot: float = 14) -> None:
    """Decoded latents [n^2, 2] in the colours of their places, neighbours joined by thin lines:
    a square grid, or the `line` of a one-dimensional latent."""
    size = round(len(grid) ** 0.5)
    lattice = grid.reshape(size, size, 2)
    lines = [grid] if line else [*lattice, *lattice.swapaxes(0, 1)]
    colours = np.linspace(0, 1, len(grid)) if line else _colours(len(grid))
    axes.add_collection(LineCollection(lines, colors="#707070", linewidths=0.4))
    axes.scatter(*grid.T, c=colours, s=min(dot, 6000 / len(grid)), lw=0, zorder=3)


def latent_evolution(evolution: Points, steps: Points, points: Points, line: bool) -> Figure:
    """The decoded latent grid before, during and after training."""
    columns = 4
    rows = -(-len(steps) // columns)
    figure = Figure(figsize=(8, 2.05 * rows + 0.4))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.6 / (2.05 * rows + 0.4), 0.03, 0.13)
    for panel, grid, step in zip(axes, evolution, steps, strict=False):
        panel.scatter(*points[::5].T, s=1, lw=0, color=GREY)
        draw_grid(panel, grid, line, dot=4)
        bare(panel, f"step {step}" if step else "before training")
    for panel in axes[len(steps) :]:
        panel.set_axis_off()
    figure.suptitle("Training unrolls the latent grid onto the data", fontsize=12)
    return figure


def animate(evolution: Points, steps: Points, points: Points, line: bool, path: Path) -> None:
    """`latent_evolution` as an animated GIF, one frame a picture; the last one stays longer."""
    figure = Figure(figsize=(4, 4.2), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.93)
    frames = []
    for grid, step in zip(evolution, steps, strict=True):
        axes.clear()
        axes.scatter(*points[::5].T, s=1, lw=0, color=GREY)
        draw_grid(axes, grid, line, dot=8)
        bare(axes, f"Latent grid, decoded, after {step} steps")
        canvas.draw()
        frame = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        frames.append(frame.quantize(64, dither=Image.Dither.NONE))
    durations = [300] * (len(frames) - 1) + [1500]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def latent_space(means: Points, angles: Points) -> Figure:
    """Posterior means of real points, coloured by the position along the roll."""
    figure, (axes,) = _panels(1, (5.9, 5.2))
    if means.shape[1] == 1:
        dots = axes.scatter(means[:, 0], angles, c=angles, s=3, lw=0, cmap="viridis")
        axes.set(xlabel="posterior mean of z", ylabel="angle t (radians)")
        axes.set_title("Where the encoder puts the roll: one latent dimension")
    else:
        first, second = np.sort(np.argsort(-means.var(axis=0))[:2])
        dots = axes.scatter(means[:, first], means[:, second], c=angles, s=3, lw=0, cmap="viridis")
        for radius in (1, 2, 3):
            axes.add_patch(Circle((0, 0), radius, fill=False, ec="black", lw=0.8, ls="--"))
            axes.annotate(f"{radius} sd", (0.0, radius), fontsize=8, ha="center", va="bottom")
        reach = max(3.3, 1.05 * np.abs(means[:, [first, second]]).max())
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set(xlabel=f"latent z{first + 1}", ylabel=f"latent z{second + 1}")
        axes.set_title("Posterior means of real points; circles: the prior")
    figure.colorbar(dots, ax=axes, label="angle t along the roll (radians)", shrink=0.85)
    return figure


def samples(drawn: Points, points: Points) -> Figure:
    """Samples from the prior through the decoder, beside real points."""
    figure, (left, right) = _panels(2, (8, 4.3))
    left.scatter(*points[: len(drawn)].T, s=3, lw=0, color=BLUE)
    _roll_axes(left, f"{min(len(drawn), len(points)):,} real points")
    right.scatter(*drawn.T, s=3, lw=0, color=ORANGE)
    _roll_axes(right, f"{len(drawn):,} samples from the prior, decoded")
    return figure


def _panels(
    count: int, size: tuple[float, float], widths: tuple[float, ...] | None = None
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size)
    ratios = {"width_ratios": widths} if widths else None
    axes = figure.subplots(1, count, squeeze=False, gridspec_kw=ratios)[0]
    figure.subplots_adjust(0.09, 0.13, 0.97, 0.9, 0.22)
    return figure, list(axes)


def _roll_axes(axes: Axes, title: str) -> None:
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xlabel="x1", ylabel="x2")
    axes.set_title(title, fontsize=11)


def bare(axes: Axes, title: str) -> None:
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def _plane(count: int) -> Points:
    """The latent positions [count, 2] of a square grid, in [-1, 1]."""
    size = round(count**0.5)
    axis = np.linspace(-1, 1, size)
    return np.stack([np.repeat(axis, size), np.tile(axis, size)], axis=-1)


def _colours(count: int) -> Points:
    """A colour for each cell of a square grid: blue to orange along z1, dark to light along z2."""
    u, v = (_plane(count).T + 1) / 2
    blue, orange = np.array([0.0, 0.35, 0.75]), np.array([0.9, 0.4, 0.0])
    base = (1 - u[:, None]) * blue + u[:, None] * orange
    light = 0.75 * (v[:, None] - 0.35)
    return np.clip(base + light * np.where(light > 0, 1 - base, base), 0, 1)


def _smooth(values: Points, window: int = 25) -> Points:
    """Running mean over `window` steps, shorter at the ends."""
    window = min(window, len(values))
    weights = np.convolve(np.ones(len(values)), np.ones(window), "same")
    return np.convolve(values, np.ones(window), "same") / weights


if __name__ == "__main__" and sys.stdin.readline():
    draw_on_all_cores(Path(sys.argv[1]))
