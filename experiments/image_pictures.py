"""The arrays behind the figures of an image run: pictures are [..., H, W, C] in [0, 1]."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

import vae_jax as vj
from experiments.image_measures import Measured, cut
from experiments.image_settings import Settings
from experiments.image_task import Task, one_hot, values
from experiments.quality import latent_points

GRID, EXTENT = 15, 2.5
PAIRS, SAMPLES, ROWS, WAY, TRAVERSED, NEAREST = 20, 64, 6, 10, 10, 6

Decode = Callable[[Any, Any], Any]
"""z [N, Z], class labels [N] or None -> pictures [N, H, W, C]."""


def pictures(
    vae: vj.VAE, params: Any, task: Task, measured: Measured, settings: Settings
) -> dict[str, Any]:
    """All arrays that `images_figures` draws."""
    rng = np.random.default_rng(settings.seed)
    images, labels = task.test[0][: settings.test_images], cut(task.test[1], settings.test_images)
    x = values(task, (images, labels), 1)
    z = np.asarray(jax.jit(partial(vj.codes, vae))(params, x))
    decode = decoder(vae, params, task)
    dims = active_dims(measured)
    shown = slice(0, PAIRS)
    arrays = {
        "originals": as_pictures(task, x[0] if task.conditional else x)[shown],
        "reconstructions": decode(z[shown], cut(labels, PAIRS)),
        "interpolation": interpolation(decode, z, labels if task.conditional else None, rng),
        "traversal": traversal(decode, z, labels if task.conditional else None, dims),
        "traversal_dims": dims[:TRAVERSED],
        "latent_grid": latent_grid(decode, z, labels if task.conditional else None, dims),
        "latent_dims": dims[:2],
        "codes": z[:, dims[:2]],
        "rates": measured.rates,
        "units": measured.units,
    }
    if labels is not None:
        arrays["labels"] = labels
    drawn_labels = rng.integers(0, task.num_classes, SAMPLES) if task.conditional else None
    for name, (other, fitted) in measured.samplers.items():
        drawn = vj.sample_prior(other, fitted, jax.random.key(settings.seed), SAMPLES)
        arrays[f"samples_{name}"] = decode(np.asarray(drawn), drawn_labels)
    drawn = arrays["samples_prior"][:NEAREST]
    arrays["nearest"] = nearest(drawn, task.train[0], 7)
    if task.conditional:
        arrays["samples_by_class"] = by_class(vae, params, task, decode, settings.seed)
    return arrays | anomalies(arrays, images, measured, settings, labels)


def decoder(vae: vj.VAE, params: Any, task: Task) -> Decode:
    mean = jax.jit(partial(vj.decode_mean, vae))

    def decode(z: Any, labels: Any) -> Any:
        condition = one_hot(task, labels) if task.conditional else None
        return as_pictures(task, np.asarray(mean(params, z, condition)))

    return decode


def as_pictures(task: Task, x: Any) -> Any:
    return np.clip(np.asarray(x, np.float32).reshape(-1, *task.shape), 0.0, 1.0)


def active_dims(measured: Measured) -> Any:
    """Active latent dimensions by falling rate, then the others."""
    return np.lexsort((-measured.rates, ~measured.units))


def interpolation(decode: Decode, z: Any, labels: Any, rng: Any) -> Any:
    """Straight ways between the codes of real images: [ROWS, WAY, H, W, C]; within a class for a
    conditional VAE."""
    rows = []
    for _ in range(ROWS):
        start = rng.integers(len(z))
        others = np.arange(len(z)) if labels is None else np.flatnonzero(labels == labels[start])
        end = rng.choice(others[others != start]) if len(others) > 1 else start
        way = z[start] + np.linspace(0, 1, WAY, dtype=np.float32)[:, None] * (z[end] - z[start])
        rows.append(decode(way, None if labels is None else np.full(WAY, labels[start])))
    return np.stack(rows)


def traversal(decode: Decode, z: Any, labels: Any, dims: Any) -> Any:
    """From the first test image's code one dimension at a time from -3 to 3: [Z', 9, ...]."""
    rows = []
    for dim in dims[:TRAVERSED]:
        way = np.repeat(z[:1], 9, axis=0)
        way[:, dim] = np.linspace(-3, 3, 9)
        rows.append(decode(way, None if labels is None else np.full(9, labels[0])))
    return np.stack(rows)


def latent_grid(
    decode: Decode, z: Any, labels: Any, dims: Any, size: int = GRID, extent: float = EXTENT
) -> Any:
    """The plane of two dimensions around 0, decoded: [size^2, H, W, C], the first dimension
    along the rows; the others as in the first test image."""
    latent_dim = z.shape[1]
    if latent_dim == 1:
        points = np.asarray(latent_points(size, extent, 1), np.float32)
    else:
        chosen = (int(dims[0]), int(dims[1]))
        points = np.asarray(latent_points(size, extent, latent_dim, chosen), np.float32)
        rest = [dim for dim in range(latent_dim) if dim not in chosen]
        points[:, rest] = z[0, rest]
    return decode(points, None if labels is None else np.full(len(points), labels[0]))


def nearest(drawn: Any, train: Any, count: int) -> Any:
    """The nearest training images of each picture, by the distance of their pixels:
    [S, count, H, W, C]."""
    flat = drawn.reshape(len(drawn), -1)
    distances = []
    for first in range(0, len(train), 4096):
        rows = train[first : first + 4096].reshape(-1, flat.shape[1]).astype(np.float32)
        rows /= max(1, train.max())
        distances.append(np.square(rows).sum(axis=1) - 2 * flat @ rows.T)
    order = np.argsort(np.concatenate(distances, axis=1), axis=1)[:, :count]
    return train[order] / np.float32(max(1, train.max()))


def by_class(vae: vj.VAE, params: Any, task: Task, decode: Decode, seed: int) -> Any:
    """The same latents for every class, decoded: [C, 10, H, W, C]."""
    z = np.asarray(vj.sample_prior(vae, params, jax.random.key(seed), 10))
    return np.stack([decode(z, np.full(10, label)) for label in range(task.num_classes)])


def anomalies(
    arrays: Any, images: Any, measured: Measured, settings: Settings, labels: Any
) -> dict[str, Any]:
    """Test images by rising -log p(x), 20 over the whole range and the last 10; all scores."""
    nll = measured.scores["nll"]
    order = np.argsort(nll)
    ends = np.arange(len(order))
    if len(order) > 30:
        ends = np.concatenate([np.linspace(0, len(order) - 11, 20).astype(int), ends[-10:]])
    chosen = order[ends]
    held = None if settings.hold_out is None else labels == settings.hold_out
    return {
        "anomalies": images[chosen] / np.float32(max(1, images.max())),
        "anomaly_nll": nll[chosen],
        "anomaly_error": measured.scores["error"][chosen],
        "nll": nll,
        "error": measured.scores["error"],
        "held_out": np.zeros(len(nll), bool) if held is None else held,
    }
