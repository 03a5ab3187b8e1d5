"""How well points cover the Swiss roll: distance to the curve, and the share of it they reach.

Plain numpy: the figures and the tests need no compiler for it.
"""

import math
from typing import Any

import numpy as np

Points = np.ndarray[Any, Any]

CURVE_POINTS = 1000
REACH = 0.05


def roll_curve(num_points: int = CURVE_POINTS) -> Points:
    """Points [num_points, 2] on the roll, equally far apart along it."""
    t = np.linspace(1.5 * math.pi, 4.5 * math.pi, 20_001)
    length = 0.5 * (t * np.sqrt(1 + t**2) + np.arcsinh(t))
    t = np.interp(np.linspace(length[0], length[-1], num_points), length, t)
    return np.stack([t * np.cos(t), t * np.sin(t)], axis=-1) / 15


def distance_and_coverage(points: Points) -> tuple[float, float]:
    """Mean distance of points [N, 2] to the roll, and the share of the roll's length that has
    one of them within `REACH`."""
    curve = roll_curve()
    squares = np.sum(points**2, axis=1)[:, None] + np.sum(curve**2, axis=1) - 2 * points @ curve.T
    nearest = np.sqrt(np.maximum(squares, 0))
    return float(nearest.min(axis=1).mean()), float((nearest.min(axis=0) < REACH).mean())


def latent_points(
    size: int, extent: float, latent_dim: int, dims: tuple[int, int] = (0, 1)
) -> Points:
    """Latents [size^2, Z] to decode as a picture, spanning [-extent, extent].

    A size x size grid in the plane of the two dimensions `dims`, the others at 0, row by row
    along the first of them; for a latent dimension of 1, a line.

    Raises:
        ValueError: a dimension that does not exist, or twice the same.
    """
    if latent_dim == 1:
        if dims != (0, 1):
            raise ValueError(f"One latent dimension has no plane of dimensions {dims}.")
        return np.linspace(-extent, extent, size**2, dtype=np.float32)[:, None]
    if len({*dims}) != 2 or not all(0 <= dim < latent_dim for dim in dims):
        raise ValueError(
            f"The plane needs two different dimensions from 0 to {latent_dim - 1}, got {dims}."
        )
    axis = np.linspace(-extent, extent, size, dtype=np.float32)
    points = np.zeros((size**2, latent_dim), np.float32)
    points[:, dims[0]], points[:, dims[1]] = np.repeat(axis, size), np.tile(axis, size)
    return points
