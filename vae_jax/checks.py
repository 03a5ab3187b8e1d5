"""Checks at the edge: what was got, what is allowed, what to do."""

import math
import numbers
from collections.abc import Sequence


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
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)
