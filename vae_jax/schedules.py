"""beta schedules: pure functions of the fraction of training done, times each run's own beta.

A schedule is `(fraction, **numbers) -> multiplier`, where fraction runs over (0, 1] and is 1 at
the last step. Its numbers may be traced, so they vary inside one compiled sweep. It must end at a
multiplier of 1 (`check_schedule`): a warm-up longer than the training would silently train
another objective.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.checks import check_positive
from vae_jax.types import Array

Schedule = Callable[..., Any]


def constant(fraction: Array) -> Array:
    """1 throughout."""
    return jnp.ones_like(fraction)


def linear_warmup(fraction: Array, warmup: float = 0.5) -> Array:
    """From 0 to 1 in a line over the first `warmup` of training, then 1: [...].

    Source: Bowman et al., arXiv:1511.06349, section 3.1; Sonderby et al., arXiv:1602.02282.
    """
    return jnp.clip(fraction / warmup, 0.0, 1.0)


def cyclical(fraction: Array, cycles: float = 4.0, ramp: float = 0.5) -> Array:
    """`cycles` times from 0 to 1 over the first `ramp` of a cycle, then 1 for its rest: [...].

    The end of the training must lie in the flat part of a cycle, as it does for whole numbers.

    Source: Fu et al., arXiv:1903.10145, eq. 6 and 7.
    """
    place = fraction * cycles
    within = place - (jnp.ceil(place) - 1.0)
    return jnp.clip(within / ramp, 0.0, 1.0)


def sigmoid(fraction: Array, centre: float = 0.3, width: float = 0.05) -> Array:
    """1 / (1 + exp(-(fraction - centre) / width)): half way at `centre`: [...].

    Source: Bowman et al., arXiv:1511.06349, figure 2.
    """
    return jax.nn.sigmoid((fraction - centre) / width)


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear_warmup": linear_warmup,
    "cyclical": cyclical,
    "sigmoid": sigmoid,
}


def schedule_numbers(schedule: Schedule) -> dict[str, float]:
    """The names and defaults of a schedule's numbers."""
    parameters = list(inspect.signature(schedule).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def check_schedule(schedule: Schedule, **numbers: float) -> None:
    """Raises ValueError unless the numbers are above 0, the multipliers within [0, 1], and the
    last one 1 (to 0.1 %)."""
    for name, value in numbers.items():
        check_positive(f"the schedule's {name}", value)
    path = schedule(jnp.linspace(0.01, 1.0, 100), **numbers)
    if not bool(jnp.all((path >= 0) & (path <= 1))):
        raise ValueError(f"The schedule {schedule.__name__} leaves [0, 1]; it multiplies beta.")
    end = float(schedule(jnp.float32(1.0), **numbers))
    if not math.isclose(end, 1.0, abs_tol=1e-3):
        given = ", ".join(f"{name}={value:g}" for name, value in numbers.items())
        raise ValueError(
            f"The schedule {schedule.__name__}({given}) ends at {end:.3g} of beta, not at beta: "
            f"the run would optimise another objective. Let it reach 1 before the last step."
        )
