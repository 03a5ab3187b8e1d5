"""When training by epochs has gone on long enough, judged from the validation bounds alone."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from vae_jax.checks import check_count, check_number
from vae_jax.schedules import Schedule, check_schedule, constant

Numbers = np.ndarray[Any, Any]


class Course(NamedTuple):
    """How long, and towards what, a training by epochs goes."""

    num_epochs: int
    beta: float = 1.0
    schedule: Schedule = constant
    numbers: tuple[tuple[str, float], ...] = ()
    """The schedule's, by name."""
    patience: int | None = None
    """Epochs without a better validation bound after which a replica ends; None: never."""


class Verdict(NamedTuple):
    """Of R replicas after some epochs: [R] each."""

    best: Numbers
    """The best epoch, counted from 0."""
    active: Numbers
    """Whether the replica still goes on."""


def check_course(course: Course) -> None:
    """Raises TypeError or ValueError for a number out of range, or a beta short of its target."""
    check_count("num_epochs", course.num_epochs)
    if check_number("beta", course.beta) < 0:
        raise ValueError(f"beta must be at least 0, got {course.beta}.")
    if course.patience is not None:
        check_count("patience", course.patience)
    check_schedule(course.schedule, **dict(course.numbers))


def first_judged(course: Course, epoch_steps: int) -> int:
    """The first epoch, counted from 0, at whose end beta has reached its target for good.

    Before that the bound falls and rises with beta, and says nothing about the end.
    """
    total = course.num_epochs * epoch_steps
    path = course.schedule((jnp.arange(total) + 1) / total, **dict(course.numbers))
    below = np.flatnonzero(np.asarray(path) < 0.999)
    return min((int(below[-1]) + 1) // epoch_steps, course.num_epochs - 1) if len(below) else 0


def verdict(bounds: Numbers, judged: int, patience: int | None) -> Verdict:
    """The verdict on validation bounds [R, E], higher being better, of the E epochs so far.

    Before the epoch `judged` the last epoch is the best one and patience is not counted. A replica
    ends for good when `patience` epochs have not been better than its best, or when its bound is
    not finite.
    """
    best, active = np.zeros(len(bounds), int), np.ones(len(bounds), bool)
    for epoch, now in enumerate(bounds.T):
        active &= np.isfinite(now)
        at_best = bounds[np.arange(len(bounds)), best]
        best[active & ((epoch <= judged) | (now > at_best))] = epoch
        if patience is not None and epoch > judged:
            active &= epoch - best < patience
    return Verdict(best, active)
