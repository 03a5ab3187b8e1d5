"""Checks at the edge: what was got, what is allowed, what to do."""

import numbers
from collections.abc import Sequence

LARGEST = 3.4028235e38
"""The largest number of float32."""


def check_count(name: str, value: object, least: int = 1) -> int:
    """`value` as an int, if it is a whole number of at least `least`.

    Raises:
        TypeError: it is not a whole number (a bool is not one).
        ValueError: it is smaller than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")
    return int(value)


def check_counts(name: str, values: object) -> tuple[int, ...]:
    """`values` as a tuple of ints, each at least 1; it may be empty."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} must be a sequence of whole numbers, got {values!r}.")
    return tuple(check_count(f"each entry of {name}", value) for value in values)


def check_seed(value: object) -> int:
    """`value` as a seed for `jax.random.key`: a whole number of 32 bits, 0 or more."""
    seed = check_count("seed", value, 0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2^32, got {seed}.")
    return seed


def check_positive(name: str, value: object) -> float:
    """`value` as a float, if it is a finite number above 0."""
    number = check_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be above 0, got {value}.")
    return number


def check_number(name: str, value: object) -> float:
    """`value` as a float, if it is a finite real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    number = float(value)
    if not abs(number) < LARGEST:
        raise ValueError(f"{name} must be a finite number of float32, got {value}.")
    return number
