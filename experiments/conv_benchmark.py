"""Training speed of a convolutional VAE on images: vae_jax beside the same network in PyTorch.

Contestants take turns; ratios are taken within a turn. PyTorch is optional (extra `bench`). The
images are random bytes: the time does not depend on what they show.
"""

import dataclasses
import importlib.util
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import vae_jax as vj
from experiments.benchmark import Samples, machine, median, ratio, table
from experiments.command import run
from vae_jax.checks import check_count


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    shape: tuple[int, int, int] = (28, 28, 1)
    """Height, width and channels of an image."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the encoder's stages."""
    latent_dim: int = 32
    """Latent dimensions."""
    batch_size: int = 128
    """Images in a step."""
    steps: int = 50
    """Steps in a turn."""
    repeats: int = 7
    """Turns that every contestant gets."""


Contestant = Callable[[], float]
"""Trains for a turn and returns images per second."""


def rows(settings: Settings) -> Any:
    count = max(2000, settings.batch_size)
    return np.random.default_rng(0).integers(0, 256, (count, *settings.shape)).astype(np.uint8)


def ours(settings: Settings) -> Contestant:
    """One compiled scan for a turn; bits are drawn in the step, from bytes on the device."""
    vae = vj.build_vae(
        vj.ConvEncoder(settings.latent_dim, settings.widths),
        vj.ConvDecoder(settings.shape, 1, settings.widths), likelihood=vj.bernoulli(),
        prior=vj.standard_normal(settings.latent_dim), data_shape=settings.shape,
    )  # fmt: skip
    state = vj.init_train_state(jax.random.key(0), vae.init, vj.make_elbo(vae), optax.adam(1e-3))
    options = {
        "batch_fn": vj.image_batches(settings.batch_size, "binarized"),
        "num_steps": settings.steps,
    }
    data, rng = jax.numpy.asarray(rows(settings)), jax.random.key(1)
    scan = vj.train_scan.lower(state, rng, data, 1.0, **options).compile()

    def turn() -> float:
        began = time.perf_counter()
        jax.block_until_ready(scan(state, rng, data, 1.0))
        return settings.steps * settings.batch_size / (time.perf_counter() - began)

    return turn


def pytorch(settings: Settings, channels_last: bool) -> Contestant:
    """The same network, bound and optimiser, eager, in either layout of memory."""
    import torch
    from torch import nn

    *size, channels = settings.shape
    size = [length // 2 ** len(settings.widths) for length in size]
    features = settings.widths[-1] * size[0] * size[1]
    down, up = [], []
    for before, after in itertools.pairwise((channels, *settings.widths)):
        down += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        up = [nn.ReLU(), nn.ConvTranspose2d(after, before, 4, 2, 1), *up]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, 2 * settings.latent_dim))
    first = nn.Linear(settings.latent_dim, features)
    decoder = nn.Sequential(*up)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for part in (encoder, decoder):
        part.to(memory_format=layout)
    parameters = [*encoder.parameters(), *first.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    data = torch.as_tensor(rows(settings).transpose(0, 3, 1, 2).copy())

    def step() -> None:
        chosen = torch.randint(0, len(data), (settings.batch_size,))
        x = torch.bernoulli(data[chosen].float() / 255).contiguous(memory_format=layout)
        mean, logvar = encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        h = first(z).reshape(-1, settings.widths[-1], *size)
        logits = decoder(h.contiguous(memory_format=layout))
        recon = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * torch.sum(mean**2 + torch.exp(logvar) - 1 - logvar)
        optimizer.zero_grad(set_to_none=True)
        ((recon + kl) / settings.batch_size).backward()
        optimizer.step()

    def turn() -> float:
        began = time.perf_counter()
        for _ in range(settings.steps):
            step()
        return settings.steps * settings.batch_size / (time.perf_counter() - began)

    return turn


def main(settings: Settings) -> None:
    check_count("repeats", settings.repeats), check_count("steps", settings.steps)
    check_count("batch_size", settings.batch_size)
    if any(length % 2 ** len(settings.widths) for length in settings.shape[:2]):
        raise ValueError(
            f"Height and width of {settings.shape} must be divisible by "
            f"{2 ** len(settings.widths)}, or PyTorch's transposed convolutions give other sizes."
        )
    contestants = {"vae_jax": ours(settings)}
    if importlib.util.find_spec("torch"):
        contestants["PyTorch"] = pytorch(settings, channels_last=False)
        contestants["PyTorch channels_last"] = pytorch(settings, channels_last=True)
    else:
        print("PyTorch is not installed (pip install 'vae-jax[bench]'): ours alone.\n")
    for turn in contestants.values():
        turn()
    turns = [{name: turn() for name, turn in contestants.items()} for _ in range(settings.repeats)]
    rates: Samples = {name: [each[name] for each in turns] for name in contestants}
    names = ("PyTorch", "PyTorch channels_last")
    cells = [median(rates, name) for name in ("vae_jax", *names)]
    cells += [*(ratio(rates, "vae_jax", name) for name in names), "2.5"]
    header = ["vae_jax (images/s)", *(f"{name} (images/s)" for name in names),
              "ours / PyTorch", "ours / channels_last", "goal"]  # fmt: skip
    what = f"{settings.shape}, widths {settings.widths}, batch {settings.batch_size}"
    print(table(f"Convolutional training, {what}:", header, [cells]))
    print(f"\nMedians of {settings.repeats} turns (quartiles). {machine()}")


if __name__ == "__main__":
    run(main, Settings)
