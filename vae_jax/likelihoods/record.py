"""The record that every likelihood is, and checks of data that several families share."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from vae_jax.types import Array, Key


class Likelihood(NamedTuple):
    """p(x | theta), theta [D * P + S]: the decoder's output, then S learned parameters shared by
    all examples, which `build_vae` adds to params and appends.

    The decoder's output is [P, D] flattened: all D values of the first parameter, then all of the
    second. `sample` and `mean` return [D]; `log_prob(theta, x [D])` returns [], nats summed over D.
    """

    text: str
    """The call that makes this record, as `from_text` reads it; a record changed by `_replace`
    needs a text of its own, or a saved run would be rebuilt without the change."""
    num_params: int
    """P, the decoder's outputs per data dimension."""
    log_prob: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    sample: Callable[[Key, Array], Array]
    check: Callable[[np.ndarray], None]
    """Raises ValueError or TypeError for data outside the support."""
    shared: Callable[[int], tuple[float, ...]] = lambda _: ()
    """D -> initial values of the S shared parameters."""


def check_real(x: np.ndarray) -> None:
    """Raises TypeError unless x holds floating-point numbers."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"This likelihood is a density over real numbers, got data of type {x.dtype}; "
            f"convert and scale it first, e.g. x.astype('float32') / 255 for 8-bit images."
        )


def check_unit_interval(name: str, x: np.ndarray) -> None:
    """Raises ValueError unless x lies in [0, 1]."""
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name}() needs data in [0, 1], got values from {low:g} to {high:g}; "
            f"scale them (x / 255 for 8-bit images) or use normal()."
        )


def check_whole(name: str, x: np.ndarray, most: int | None, advice: str) -> None:
    """Raises ValueError unless x holds whole numbers from 0 to `most` (None: without end)."""
    low, high = x.min(), x.max()
    if not (low >= 0 and (most is None or high <= most)):
        got = f"values from {low:g} to {high:g}"
    elif x.dtype.kind in "iub" or np.array_equal(x, rounded := np.rint(x)):
        return
    else:
        got = f"{x[x != rounded].flat[0]:g}"
    allowed = "0, 1, 2, ..." if most is None else f"from 0 to {most}"
    raise ValueError(f"{name} needs whole numbers {allowed}, got {got}; {advice}")
