"""The figures of an image run, drawn from the arrays in its folder. Nothing here imports jax."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import BLUE, GREY, ORANGE, save
from experiments.mosaics import WIDTH, grid_of, sheet, show

Arrays = dict[str, Any]

MARKS = "osD^v<>PX*"


def draw_all(folder: Path) -> None:
    """Writes every figure of the run in `folder` from its arrays.npz."""
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, draw in FIGURES.items():
        if name != "samples_by_class" or name in arrays:
            save(draw(arrays), folder / f"{name}.png")


def reconstructions(arrays: Arrays) -> Figure:
    return pairs(arrays["originals"], arrays["reconstructions"])


def pairs(originals: Any, rebuilt: Any) -> Figure:
    """Test images with their reconstructions below them."""
    columns = min(10, len(originals))
    blocks = [grid_of(part, columns) for part in (originals, rebuilt)]
    rows = np.stack(blocks, axis=1).reshape(-1, *blocks[0].shape[1:])
    error = np.square(originals - rebuilt).mean()
    labels = ["original", "decoded"] * len(blocks[0])
    title = f"Test images and their reconstructions; mean squared error {error:.4f} a pixel"
    return sheet(rows, title, rows=labels, left=0.75)


SAMPLERS = {
    "prior": "the VAE's own prior",
    "mixture": "a mixture fitted to the codes",
    "flow": "a flow fitted to the codes",
}


def samples(arrays: Arrays) -> Figure:
    """Decoded draws from each of the priors, side by side."""
    names = [name for name in SAMPLERS if f"samples_{name}" in arrays]
    count = 25 if len(arrays["samples_prior"]) >= 25 else len(arrays["samples_prior"])
    blocks = [grid_of(arrays[f"samples_{name}"][:count], 5) for name in names]
    shape = blocks[0].shape
    side = WIDTH / len(names)
    body = side * 0.94 * shape[0] * shape[2] / (shape[1] * shape[3])
    figure = Figure(figsize=(WIDTH, body + 0.75))
    for place, (name, block) in enumerate(zip(names, blocks, strict=True)):
        place_at = ((place + 0.03) / len(names), 0.02, 0.94 / len(names), body / (body + 0.75))
        axes = figure.add_axes(place_at)
        show(axes, block)
        axes.set_title(f"z from {SAMPLERS[name]}", fontsize=9)
    figure.suptitle("Samples: decoded means of draws of z", fontsize=11)
    return figure


def interpolation(arrays: Arrays) -> Figure:
    return sheet(
        arrays["interpolation"],
        "From one test image to another, along a straight line between their codes",
    )


def traversal(arrays: Arrays) -> Figure:
    """One row for each latent dimension, the one of the highest rate first."""
    dims = arrays["traversal_dims"]
    rows = [f"z{dim + 1}: {arrays['rates'][dim]:.2f} nats" for dim in dims]
    columns = [f"{value:.3g}" for value in np.linspace(-3, 3, arrays["traversal"].shape[1])]
    title = "One latent dimension at a time, by falling rate; columns: its value"
    return sheet(arrays["traversal"], title, rows=rows, columns=columns, left=1.1)


def latent_grid(arrays: Arrays) -> Figure:
    return plane(arrays["latent_grid"], arrays["latent_dims"])


def plane(pictures: Any, dims: Any, extent: float = 2.5) -> Figure:
    """A square of the latent plane, decoded, or a line of it row by row."""
    side = round(len(pictures) ** 0.5)
    if len(dims) == 1:
        title = f"z1 from -{extent:g} to {extent:g}, decoded, row by row"
        return sheet(pictures.reshape(side, side, *pictures.shape[1:]), title, width=6.5)
    block = pictures.reshape(side, side, *pictures.shape[1:])
    title = (
        f"The latent plane, decoded: z{dims[0] + 1} from -{extent:g} (top) to {extent:g}, "
        f"z{dims[1] + 1} from left to right"
    )
    return sheet(block, title)


def latent_space(arrays: Arrays) -> Figure:
    """Codes of test images in the plane of the two most active dimensions."""
    codes, labels = arrays["codes"], arrays.get("labels")
    figure = Figure(figsize=(WIDTH, 6.2))
    axes = figure.add_axes((0.09, 0.09, 0.72, 0.84))
    second = codes[:, 1] if codes.shape[1] > 1 else np.zeros(len(codes))
    classes = [] if labels is None else [*np.unique(labels)]
    if 1 < len(classes) <= 40:
        colours = colours_of(len(classes))
        for place, label in enumerate(classes):
            rows = labels == label
            axes.scatter(
                codes[rows, 0], second[rows], s=16, lw=0, color=colours[place], alpha=0.8,
                marker=MARKS[place % len(MARKS)], label=str(label),
            )  # fmt: skip
        axes.legend(title="class", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.scatter(codes[:, 0], second, s=14, lw=0, color=BLUE, alpha=0.7)
    reach = 1.05 * max(3.0, float(np.abs(codes).max()))
    names = [f"z{dim + 1}" for dim in arrays["latent_dims"]]
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel=names[0])
    axes.set_ylabel(names[1] if len(names) > 1 else "")
    axes.grid(alpha=0.25)
    axes.set_title(f"Codes of {len(codes):,} test images in the most active dimensions")
    return figure


def colours_of(count: int) -> Any:
    """Colours that differ in lightness too; the markers tell apart what they leave alike."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.88, count))


def nearest(arrays: Arrays) -> Figure:
    """Samples and the training images nearest to them."""
    rows = np.concatenate([arrays["samples_prior"][: len(arrays["nearest"]), None],
                           arrays["nearest"]], axis=1)  # fmt: skip
    columns = ["sample", "nearest", *(f"{i}." for i in range(2, rows.shape[1]))]
    title = "Samples beside their nearest training images: alike, but no copies?"
    return sheet(rows, title, columns=columns)


def loss(arrays: Arrays) -> Figure:
    """Both terms, and the bound on training and validation images, by epoch."""
    figure = Figure(figsize=(WIDTH, 4.2))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(0.1, 0.13, 0.98, 0.86, 0.28)
    epochs = np.arange(1, arrays["history_loss"].shape[1] + 1)
    bound = arrays.get("history_bound", -arrays["history_loss"])
    for place in range(len(bound)):
        first = place == 0
        left.plot(epochs, bound[place], color=GREY, label="training" if first else None)
        left.plot(epochs, arrays["history_validation"][place], color=BLUE, lw=1.6,
                  label="validation" if first else None)  # fmt: skip
        right.plot(epochs, -arrays["history_recon"][place], color=BLUE,
                   label="-log p(x | z)" if first else None)  # fmt: skip
        right.plot(epochs, arrays["history_kl"][place], color=ORANGE, label="KL" if first else None)
    low = np.nanquantile(arrays["history_validation"], 0.05)
    high = np.nanmax([arrays["history_validation"].max(), bound.max()])
    left.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3)
    left.set(xlabel="epoch", ylabel="bound (nats per image)", title="The bound: higher is better")
    right.set(xlabel="epoch", ylabel="nats per image", title="Its two terms")
    if (arrays["history_kl"] > 0).all() and (arrays["history_recon"] < 0).all():
        right.set_yscale("log")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def active_units(arrays: Arrays) -> Figure:
    """The rate of each latent dimension, falling."""
    rates, units = arrays["rates"], arrays["units"]
    order = np.argsort(-rates)
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.add_axes((0.09, 0.15, 0.89, 0.73))
    colours = [BLUE if units[dim] else GREY for dim in order]
    axes.bar(np.arange(len(order)), rates[order], color=colours)
    places = np.arange(0, len(order), -(-len(order) // 16))
    axes.set_xticks(places, [f"z{order[place] + 1}" for place in places])
    axes.set(xlabel="latent dimension", ylabel="rate (nats per image)")
    axes.set_title(f"{units.sum()} of {len(units)} latent dimensions are active (blue)")
    return figure


def samples_by_class(arrays: Arrays) -> Figure:
    """One row for each class, one latent for each column."""
    block = arrays["samples_by_class"]
    rows = [f"class {label}" for label in range(len(block))]
    title = "One class in each row; each column has one z: its style goes through the classes"
    return sheet(block, title, rows=rows, left=0.8)


def anomalies(arrays: Arrays) -> Figure:
    """Test images by rising -log p(x), and both scores against each other."""
    shown, columns = arrays["anomalies"], 10
    block = grid_of(shown, columns)
    body = 7.6 * block.shape[0] * (block.shape[2] / block.shape[3] + 0.3) / columns
    height = body + 4.4
    figure = Figure(figsize=(WIDTH, height))
    panels = figure.subplots(block.shape[0], columns, squeeze=False)
    figure.subplots_adjust(0.02, 3.75 / height, 0.98, 1 - 0.75 / height, 0.12, 0.3)
    for place, panel in enumerate(panels.ravel()):
        panel.set_axis_off()
        if place < len(shown):
            show(panel, shown[place][None, None])
            numbers = arrays["anomaly_nll"][place], arrays["anomaly_error"][place]
            panel.set_title(f"{numbers[0]:.0f} | {numbers[1]:.3f}", fontsize=7, pad=2)
    figure.suptitle(
        "Test images from usual to odd, by -log p(x) in nats (left number);\n"
        "right number: the squared error a pixel of the reconstruction", fontsize=11,
    )  # fmt: skip
    axes = figure.add_axes((0.1, 0.55 / height, 0.86, 2.8 / height))
    scatter(axes, arrays)
    return figure


def scatter(axes: Axes, arrays: Arrays) -> None:
    held = arrays["held_out"]
    kinds = {"trained on": (~held, BLUE, "o"), "class held out": (held, ORANGE, "^")}
    for name, (rows, colour, mark) in kinds.items():
        if rows.any():
            axes.scatter(arrays["nll"][rows], arrays["error"][rows], s=14, lw=0, alpha=0.6,
                         color=colour, marker=mark, label=name)  # fmt: skip
    axes.set(xlabel="-log p(x) (nats)", ylabel="squared error a pixel")
    if held.any():
        axes.legend(frameon=False)
    axes.grid(alpha=0.25)


FIGURES: dict[str, Callable[[Arrays], Figure]] = {
    draw.__name__: draw
    for draw in (reconstructions, samples, interpolation, traversal, latent_grid, latent_space,
                 nearest, loss, active_units, samples_by_class, anomalies)
}  # fmt: skip
