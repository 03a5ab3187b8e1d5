"""What the experiments that open a saved Swiss-roll run have in common."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import vae_jax as vj
from vae_jax.checks import check_count, check_seed
from vae_jax.data.swiss_roll import roll_angles, roll_point


def load(path: Path) -> vj.Run:
    """The run in `path`, which must be of two-dimensional data.

    Raises:
        FileNotFoundError, ValueError: it is no run, damaged, or of other data.
    """
    run = vj.load_run(path)
    if run.vae.data_shape != (2,):
        raise ValueError(
            f"{path} is a run on data of shape {run.vae.data_shape}; this figure is for points in "
            f"the plane, shape (2,)."
        )
    return run


def roll_points(seed: int, num_points: int) -> Any:
    """Fresh points of the roll, [num_points, 2], at most a million.

    Raises:
        TypeError, ValueError: a number that is not as said.
    """
    if check_count("points", num_points) > 1_000_000:
        raise ValueError(f"points must be at most 1,000,000, got {num_points:,}.")
    return np.asarray(roll_point(roll_angles(jax.random.key(check_seed(seed)), num_points)))
