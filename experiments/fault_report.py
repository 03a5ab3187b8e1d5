"""What the parts of `faults` report, and the table that is made of it."""

from collections.abc import Iterable
from typing import NamedTuple


class Outcome(NamedTuple):
    """One row: `tried` faults of a kind, and what became of them."""

    fault: str
    tried: int
    good: str
    """In words, with numbers: "213 resumed to the same bits"."""
    bad: int
    """Runs lost, damage that passed unseen, wrong exceptions, hangs, files outside."""
    examples: str = ""
    """Of what was bad."""


def markdown(outcomes: Iterable[Outcome]) -> str:
    lines = ["| fault | tried | what happened | failures |", "|---|--:|---|--:|"]
    for each in outcomes:
        said = each.good + (f" BAD: {each.examples}" if each.bad else "")
        lines.append(f"| {each.fault} | {each.tried:,} | {said} | {each.bad} |")
    return "\n".join(lines) + "\n"
