"""The figures and the table of a sweep over beta."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import BLUE, GREY, ORANGE, bare, draw_grid, save
from experiments.quality import roll_curve

Row = dict[str, Any]
Measured = list[dict[str, Any]]


def draw_all(folder: Path, rows: list[Row], measured: Measured) -> None:
    """Writes rate_distortion.png, latent_grids.png and collapse.png into `folder`."""
    groups = by_setting(rows, measured)
    save(rate_distortion(groups), folder / "rate_distortion.png")
    save(latent_grids(groups), folder / "latent_grids.png")
    save(collapse(rows, measured), folder / "collapse.png")


def varying(rows: list[Row]) -> list[str]:
    """The settings, but for the seed, that are not the same in every row; beta at least."""
    names = [name for name in rows[0] if len({row[name] for row in rows}) > 1 and name != "seed"]
    return names or ["beta"]


def by_setting(rows: list[Row], measured: Measured) -> dict[str, Measured]:
    """The finite replicas of each setting of what varies, named by it, in rising order."""
    names, groups = varying(rows), {}
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i][name] for name in names))
    for index in order:
        values = [f"{rows[index][name]:.3g}" for name in names]
        label = (
            values[0]
            if names == ["beta"]
            else ", ".join(map(" ".join, zip(names, values, strict=True)))
        )
        if np.isfinite(measured[index]["loss"]):
            groups.setdefault(label, []).append(measured[index])
    return groups


def rate_distortion(groups: dict[str, Measured]) -> Figure:
    """Every replica's rate and distortion; medians over seeds joined, with 90 % intervals."""
    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    figure.subplots_adjust(0.1, 0.12, 0.97, 0.9)
    middle = []
    for label, group in groups.items():
        rate, error = (np.array([each[name] for each in group]) for name in ("rate", "recon"))
        axes.scatter(rate, error, s=10, color=BLUE, alpha=0.45, lw=0)
        (x_low, x, x_high), (y_low, y, y_high) = (
            np.quantile(values, [0.05, 0.5, 0.95]) for values in (rate, error)
        )
        axes.errorbar(x, y, [[y - y_low], [y_high - y]], [[x - x_low], [x_high - x]],
                      color=ORANGE, lw=1)  # fmt: skip
        axes.annotate(label, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=9)
        middle.append((x, y))
    axes.plot(*np.transpose(middle), color=ORANGE, lw=1.5, marker="o", ms=4)
    axes.set(xlabel="rate: KL(q(z|x) || p(z)), nats", yscale="log")
    axes.set_ylabel("distortion: squared error, mean over dimensions")
    axes.set_title("Rate buys distortion: each setting (label) and its replicas (dots)")
    axes.grid(alpha=0.25)
    return figure


def latent_grids(groups: dict[str, Measured]) -> Figure:
    """The decoded latent grid of the replica with the median loss, for every setting."""
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    height = 2.1 * rows + 0.5
    figure = Figure(figsize=(8, height))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.7 / height, 0.03, 0.14)
    for panel in axes[len(groups) :]:
        panel.set_axis_off()
    for panel, (label, group) in zip(axes, groups.items(), strict=False):
        chosen = sorted(group, key=lambda each: each["loss"])[len(group) // 2]
        panel.plot(*roll_curve(500).T, color=GREY, lw=2)
        draw_grid(panel, chosen["grid"], len(chosen["rates"]) == 1, dot=4)
        bare(panel, label)
    figure.suptitle(
        "One decoded latent grid per setting (beta): a large beta collapses it", fontsize=12
    )
    return figure


def collapse(rows: list[Row], measured: Measured) -> Figure:
    """Active units, and the KL of each latent dimension in falling order, against beta; all
    other settings are pooled."""
    groups: dict[float, Measured] = {beta: [] for beta in sorted({row["beta"] for row in rows})}
    for row, values in zip(rows, measured, strict=True):
        if np.isfinite(values["loss"]):
            groups[row["beta"]].append(values)
    groups = {beta: group for beta, group in groups.items() if group}
    figure = Figure(figsize=(8, 3.9))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(0.08, 0.15, 0.98, 0.88, 0.22)
    betas = np.array(list(groups))
    _band(left, betas, [[each["active"] for each in group] for group in groups.values()], BLUE)
    left.set(ylabel="dimensions, variance of mean > 0.01", title="Active units")
    ordered = [[np.sort(each["rates"])[::-1] for each in group] for group in groups.values()]
    for dim in range(min(len(rates) for group in ordered for rates in group)):
        values = [[rates[dim] for rates in group] for group in ordered]
        _band(right, betas, values, (BLUE, ORANGE, "black", GREY)[dim % 4], f"dimension {dim + 1}")
    right.set(ylabel="KL, nats", title="Rate of each latent dimension")
    right.legend(frameon=False, title="ordered by rate")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="beta")
        axes.grid(alpha=0.25)
    return figure


def _band(
    axes: Axes, betas: Any, values: list[list[Any]], colour: str, label: str | None = None
) -> None:
    low, middle, high = np.transpose([np.quantile(each, [0.05, 0.5, 0.95]) for each in values])
    axes.fill_between(betas, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(betas, middle, color=colour, marker="o", ms=4, label=label)


def table(rows: list[Row], measured: Measured, steps: int) -> str:
    """One line per setting: medians over its replicas, with the range of 90 % of them."""
    names = ("loss", "recon", "rate", "active", "grid distance", "grid coverage")
    head = ", ".join(varying(rows))
    lines = [f"| {head} | replicas | " + " | ".join(names) + " |"]
    lines += ["|--:" * (2 + len(names)) + "|"]
    for label, group in by_setting(rows, measured).items():
        cells = []
        for name in names:
            low, middle, high = np.quantile([each[name] for each in group], [0.05, 0.5, 0.95])
            cells.append(f"{middle:.4g} ({low:.4g} to {high:.4g})")
        lines.append(f"| {label} | {len(group)} | " + " | ".join(cells) + " |")
    note = (
        f"Medians and 90 % intervals over seeds, {steps} steps; loss and recon (squared error) "
        f"are means over dimensions and over the last 100 steps, rate is in nats."
    )
    return "\n".join([*lines, "", note, ""])
