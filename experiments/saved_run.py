"""What the experiments that open a saved run have in common."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vae_jax as vj
from experiments.image_settings import Settings
from experiments.image_task import Task, load_task
from vae_jax.checks import check_count, check_seed
from vae_jax.data.swiss_roll import roll_angles, roll_point


def load(path: Path) -> vj.Run:
    """The run in `path`, of points in the plane or of images.

    Raises:
        FileNotFoundError, ValueError: it is no run, damaged, or of other data.
    """
    run = vj.load_run(path)
    if not of_images(run) and run.vae.data_shape != (2,):
        raise ValueError(
            f"{path} is a run on data of shape {run.vae.data_shape}; this figure is for points in "
            f"the plane, shape (2,), and for runs of experiments.images."
        )
    return run


def of_images(run: vj.Run) -> bool:
    """Whether experiments.images has written it."""
    return {"dataset", "form", "model"} <= set(run.config.get("settings", {}))


def image_task(run: vj.Run) -> Task:
    """The images that the run was trained on.

    Raises:
        FileNotFoundError, ValueError: they are no longer there, or no longer the same.
    """
    names = {field.name for field in dataclasses.fields(Settings)}
    kept = {k: v for k, v in run.config["settings"].items() if k in names}
    kept = {k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}
    task = load_task(Settings(**kept))
    if math.prod(task.shape) != math.prod(run.vae.data_shape):
        raise ValueError(
            f"{kept['dataset']} now holds images {task.shape}, the run was trained on "
            f"{run.vae.data_shape}."
        )
    return task


def roll_points(seed: int, num_points: int) -> Any:
    """Fresh points of the roll, [num_points, 2], at most a million.

    Raises:
        TypeError, ValueError: a number that is not as said.
    """
    if check_count("points", num_points) > 1_000_000:
        raise ValueError(f"points must be at most 1,000,000, got {num_points:,}.")
    return np.asarray(roll_point(roll_angles(jax.random.key(check_seed(seed)), num_points)))
