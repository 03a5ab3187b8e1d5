"""What an image run found, as text."""

from typing import Any

import vae_jax as vj
from experiments.image_settings import Settings
from experiments.image_task import BITS, DENSITY, LEVELS, Task

MEANING = {
    "scaled": "pixels / 255",
    "dequantized": "pixels / 256 with uniform noise of one level added, anew at every use",
    "binarized": "a bit for each pixel, 1 with probability pixel / 255, drawn anew at every use",
    "bits": "the images' own bits",
}
KINDS = {
    LEVELS: "probabilities of the 256 levels",
    DENSITY: "a density over dequantised pixels; the bits/dim are corrected for the width of a "
    "level, and bound those of the levels from above",
    BITS: "probabilities of bits; they do not compare with those of grey levels",
    "no density": "**no density of these data**: read the numbers as scores, not as log p(x)",
}


def data_line(task: Task, settings: Settings) -> str:
    """Which images, in which form."""
    height, width, channels = task.shape
    held = "" if settings.hold_out is None else f", without class {settings.hold_out}"
    return (
        f"{task.images.name}: {len(task.train[0]):,} training images{held}, "
        f"{len(task.validation[0]):,} for validation, {len(task.test[0]):,} test images, "
        f"{height} x {width} x {channels}; {task.form}: {MEANING[task.form]}"
    )


def report(vae: vj.VAE, task: Task, settings: Settings, numbers: dict[str, Any]) -> str:
    """The content of report.md."""
    sections = [
        f"# {task.images.name}, {settings.model}",
        f"{data_line(task, settings)}.",
        f"Likelihood `{vae.likelihood.text}`: {KINDS[task.kind]}.",
        likelihood_section(settings, numbers),
        latent_section(numbers),
        sampler_section(numbers),
        anomaly_section(settings, numbers),
        time_section(settings, numbers),
        "## Settings",
        "\n".join(f"- {name}: {value}" for name, value in settings.kept().items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def likelihood_section(settings: Settings, numbers: dict[str, Any]) -> str:
    worn = f"\n\n**Warning:** {numbers['warning']}" if numbers["warning"] else ""
    return (
        f"## Likelihood\n\n"
        f"| | |\n|---|--:|\n"
        f"| NLL, nats per image | {numbers['nll']:.2f} ± {numbers['nll_error']:.2f} |\n"
        f"| bits/dim | {numbers['bits_per_dim']:.4f} ± {numbers['bits_per_dim_error']:.4f} |\n"
        f"| effective samples, median (lowest) | {numbers['ess']:.1f} "
        f"({numbers['ess_lowest']:.1f}) |\n"
        f"| squared error of reconstructions, a pixel | {numbers['reconstruction_error']:.5f} |\n\n"
        f"{numbers['num_test']:,} test images, {settings.samples:,} importance samples each; ± is "
        f"the standard error over images, of which {numbers['nll_sampling_error']:.3f} nats come "
        f"from the sampling.{worn}"
    )


def latent_section(numbers: dict[str, Any]) -> str:
    lines = [
        "## Latent space",
        f"{numbers['active_units']} of {numbers['latent_dim']} latent dimensions are active. Rate "
        f"{numbers['rate']:.2f} nats over {numbers['gap_rows']:,} training images.",
    ]
    if numbers["gap"] is None:
        lines.append("The posterior is behind a flow: the information I(x; z) is not estimated.")
    else:
        lines.append(
            f"Of it {numbers['information']:.2f} nats are information, I(x; z), and the rest, "
            f"{numbers['gap']:.2f} nats, is the gap KL(q(z) || p(z)) between prior and aggregate "
            f"posterior. I is at most the log of the number of images: where it comes near, the "
            f"gap is over these images, and larger than over all that there could be."
        )
    return "\n\n".join(lines)


def sampler_section(numbers: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {row['nll']:.2f} | "
        + ("–" if name == "prior" else f"{row['closed']:.2f} ± {row['closed_error']:.2f}")
        + " | "
        + (
            "–"
            if name == "prior" or not numbers["gap"]
            else f"{row['closed'] / numbers['gap']:.0%}"
        )
        + " |"
        for name, row in numbers["samplers"].items()
    ]
    return "\n".join(
        [
            "## Priors fitted after the training", "",
            "| z from | NLL, nats | gap closed, nats | share of the gap |", "|---|--:|--:|--:|",
            *rows, "",
            "The same encoder and decoder with another prior, fitted to codes of training images. "
            "Gap closed: how much nearer it is to the codes of the test images than the VAE's own "
            "prior, KL(q(z) || p(z)) less KL(q(z) || fitted).",
        ]
    )  # fmt: skip


def anomaly_section(settings: Settings, numbers: dict[str, Any]) -> str:
    if "auroc" not in numbers:
        return ""
    found = numbers["auroc"]
    return (
        f"## Class {settings.hold_out} held out\n\n"
        f"AUROC of telling its test images from the others: {found['nll']:.3f} by -log p(x), "
        f"{found['error']:.3f} by reconstruction error (0.5 is chance)."
    )


def time_section(settings: Settings, numbers: dict[str, Any]) -> str:
    bounds = ", ".join(
        f"{bound:.2f} (epoch {epoch})"
        for bound, epoch in zip(numbers["validation_bounds"], numbers["best_epochs"], strict=True)
    )
    return (
        f"## Training\n\n{numbers['epochs']} epochs, {numbers['images_per_second']:,.0f} images/s, "
        f"{numbers['seconds_training']:.1f} s with compiling; the whole command "
        f"{numbers['seconds']:.1f} s. Best validation bound by seed, in nats: {bounds}; shown is "
        f"seed {numbers['best_seed']}."
    )
