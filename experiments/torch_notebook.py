"""The teaching notebook's Swiss-roll VAE in PyTorch: what the package is measured against.

Run as `python -m experiments.torch_notebook --out DIR`. It trains, then draws the figures of
`experiments.swiss_roll` with the same drawing code. It is written the way a notebook is: modules,
an optimiser that holds state, one Python loop. Needs the extra `bench`.
"""

import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.command import run

BATCH_SIZE = 128
BETA = 0.01
DEPTH = 3
LATENT_DIM = 2
LEARNING_RATE = 1e-3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Points = np.ndarray[Any, Any]
Step = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""One training step; returns loss, recon and kl, each []."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One training run of the notebook."""

    out: Path
    """Folder for metrics.csv, arrays.npz and the figures."""
    width: int = 256
    """Units in each hidden layer."""
    num_steps: int = 1000
    """Training steps, a multiple of 10."""
    seed: int = 0


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with a ReLU between each two."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class VAE(nn.Module):
    """Two mirrored MLPs: the encoder gives mean and logvar, the decoder the reconstruction."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [width] * DEPTH
        self.encoder = mlp(2, *hidden, 2 * LATENT_DIM)
        self.decoder = mlp(LATENT_DIM, *hidden, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teaching loss and its two parts, mean squared error and mean KL, each []."""
        mean, logvar = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        recon = torch.mean((self.decoder(z) - x) ** 2)
        kl = torch.mean(0.5 * (logvar.exp() + mean**2 - 1.0 - logvar))
        return recon + BETA * kl, recon, kl


def roll_angles(num_points: int) -> Tensor:
    """Angles t [num_points], uniform over one and a half turns."""
    return 1.5 * math.pi * (1.0 + 2.0 * torch.rand(num_points, device=DEVICE))


def roll_points(t: Tensor) -> Tensor:
    """The points [N, 2] of the roll at the angles t [N]."""
    return torch.stack([t * torch.cos(t), t * torch.sin(t)], dim=-1) / 15.0


def make_step(vae: VAE, compiled: bool = False) -> Step:
    """A training step of `vae`, eager or with both loss and optimiser under `torch.compile`."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=LEARNING_RATE)
    forward: Callable[..., Any] = vae
    update: Callable[..., Any] = optimizer.step
    if compiled:
        forward = torch.compile(vae, dynamic=False)
        update = torch.compile(optimizer.step, dynamic=False)

    def step() -> tuple[Tensor, Tensor, Tensor]:
        loss, recon, kl = forward(roll_points(roll_angles(BATCH_SIZE)))
        optimizer.zero_grad()
        loss.backward()
        update()
        return loss.detach(), recon.detach(), kl.detach()

    return step


def make(width: int, compiled: bool = False) -> Step:
    """A training step of a new VAE of this width."""
    return make_step(VAE(width).to(DEVICE), compiled)


def latent_grid(num: int = 20) -> Tensor:
    """The points [num * num, 2] of a square grid over [-2, 2]^2, first coordinate slowest."""
    axis = torch.linspace(-2.0, 2.0, num, device=DEVICE)
    return torch.cartesian_prod(axis, axis)


def train(vae: VAE, num_steps: int) -> tuple[list[list[float]], list[Points]]:
    """Metrics of every step, and the decoded grid before training and after every tenth of it."""
    step, grid = make_step(vae), latent_grid()
    metrics, evolution = [], [decode(vae, grid)]
    for index in range(num_steps):
        metrics.append([value.item() for value in step()])
        if (index + 1) % (num_steps // 10) == 0:
            evolution.append(decode(vae, grid))
    return metrics, evolution


@torch.no_grad()
def decode(vae: VAE, z: Tensor) -> Points:
    """The decoder's output at z, as numpy."""
    decoded: Points = vae.decoder(z).cpu().numpy()
    return decoded


@torch.no_grad()
def figure_arrays(vae: VAE) -> dict[str, Any]:
    """What the figures show of the trained model; see `experiments.figures`."""
    angles = roll_angles(10_000)
    points = roll_points(angles)
    means = vae.encoder(points)[:, :LATENT_DIM]
    return {
        "points": points.cpu().numpy(),
        "originals": points[:1000].cpu().numpy(),
        "reconstructions": decode(vae, means[:1000]),
        "grid": decode(vae, latent_grid()),
        "latent_means": means.cpu().numpy(),
        "angles": angles.cpu().numpy(),
        "samples": decode(vae, torch.randn(2_000, LATENT_DIM, device=DEVICE)),
    }


def save_metrics(path: Path, metrics: Iterable[list[float]]) -> None:
    """Writes step,loss,recon,kl, one row per step; the first step is 1."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "recon", "kl"])
        writer.writerows([step, *row] for step, row in enumerate(metrics, start=1))


def main(settings: Settings) -> None:
    """Trains, writes what the figures need, draws them."""
    if settings.num_steps < 10 or settings.num_steps % 10:
        raise ValueError(f"num_steps must be a multiple of 10, got {settings.num_steps}.")
    torch.manual_seed(settings.seed)
    vae = VAE(settings.width).to(DEVICE)
    metrics, evolution = train(vae, settings.num_steps)
    print(f"loss, mean of the last 100 steps: {np.mean([row[0] for row in metrics[-100:]]):.4f}")

    settings.out.mkdir(parents=True, exist_ok=True)
    config = {"objective": "make_teaching", "beta": BETA}
    (settings.out / "config.json").write_text(json.dumps(config))
    save_metrics(settings.out / "metrics.csv", metrics)
    arrays = figure_arrays(vae)
    arrays["evolution"] = np.stack(evolution)
    arrays["evolution_steps"] = np.arange(11) * (settings.num_steps // 10)
    np.savez(settings.out / "arrays.npz", **arrays)
    from experiments.figures import draw_all

    draw_all(settings.out)


if __name__ == "__main__":
    run(main, Settings)
