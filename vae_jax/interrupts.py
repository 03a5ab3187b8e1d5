"""Ctrl-C as a question that a long run asks between its chunks."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the chunk was finished and saved; `step` is where the run stands."""

    def __init__(self, step: int, folder: Path | None) -> None:
        where = f"saved in {folder}" if folder else "not saved, since no run_dir was given"
        super().__init__(f"Interrupted after step {step}, {where}.")
        self.step = step


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a question one can ask; the second one stops at once.

    Only the main thread may handle signals; elsewhere the answer is always no.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
