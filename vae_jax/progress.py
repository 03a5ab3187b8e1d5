"""The progress bar of a run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Report = Callable[[int, Mapping[str, Any]], None]
"""Called with the step reached and the chunk's metrics, each [T]."""


@contextmanager
def show_nothing(total: int, done: int, name: str = "") -> Iterator[Report]:
    """A report that nobody sees."""
    yield lambda step, metrics: None


@contextmanager
def show_progress(total: int, done: int, name: str = "train") -> Iterator[Report]:
    """A bar with steps, steps/s, time left and the last chunk's mean of each metric."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=8),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[terms]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(name, total=total, completed=done, rate="compiling", terms="")

        def report(step: int, metrics: Mapping[str, Any]) -> None:
            terms = " ".join(f"{name} {values.mean():.3g}" for name, values in metrics.items())
            speed = bar.tasks[task].speed
            rate = f"{speed:,.0f} steps/s" if speed else ""
            bar.update(task, completed=step, rate=rate, terms=terms)

        yield report
