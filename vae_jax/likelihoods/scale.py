"""Where the scale of a family of location and scale comes from."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax.numpy as jnp

from vae_jax.checks import check_positive
from vae_jax.types import Array

Learned: TypeAlias = Literal["shared", "per_dim", "decoder"]
"""One scale for all of x; one for each data dimension, the same for all examples; or the decoder's
output, for each example and dimension."""

INITIAL = 0.1
"""Where a learned scale starts, unless told otherwise."""


class Scale(NamedTuple):
    """What a family needs to know of its scale; it is learned as a multiple of its logarithm."""

    num_params: int
    """Decoder outputs per data dimension, the location included: 1 or 2."""
    shared: Callable[[int], tuple[float, ...]]
    """As in `Likelihood`."""
    split: Callable[[Array], tuple[Array, Array]]
    """theta -> location [D], power * log(scale) as [D], [1] or []."""
    arguments: str
    """As text for the likelihood's call."""


def make_scale(
    name: str, given: float | None, initial: float, learned: Learned, power: float = 1.0
) -> Scale:
    """The `Scale` that is `given`, or learned as power * log(scale) from `initial`.

    theta is location [D], then the learned value: [1], [D] or [D]. `per_dim` and `decoder` differ
    in who supplies the second [D] only.

    Raises:
        TypeError, ValueError: a scale that is not a finite number above 0, an unknown `learned`,
            or one beside a given scale.
    """
    if learned not in get_args(Learned):
        known = ", ".join(map(repr, get_args(Learned)))
        raise ValueError(f"learned must be one of {known}, got {learned!r}.")
    if given is not None:
        given = check_positive(name, given)
        if learned != "shared":
            raise ValueError(f"{name} is given as {given}, so learned={learned!r} means nothing.")
        fixed = power * math.log(given)
        text = f"{name}={given!r}"
        return Scale(1, lambda _: (), lambda t: (t, jnp.asarray(fixed, t.dtype)), text)
    initial = check_positive(f"initial_{name}", initial)
    start = power * math.log(initial)
    words = [f"initial_{name}={initial!r}"] if initial != INITIAL else []
    words += [f"learned={learned!r}"] if learned != "shared" else []
    text = ", ".join(words)

    def halves(theta: Array) -> tuple[Array, Array]:
        location, value = jnp.split(theta, 2, axis=-1)
        return location, value

    if learned == "shared":
        return Scale(1, lambda _: (start,), lambda t: (t[..., :-1], t[..., -1:]), text)
    if learned == "per_dim":
        return Scale(1, lambda num_dims: (start,) * num_dims, halves, text)
    return Scale(2, lambda _: (), halves, text)
