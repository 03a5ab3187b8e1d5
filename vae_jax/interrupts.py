"""Ctrl-C and SIGTERM as a question that a long run asks between its chunks."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what batch systems send before a job's time is over."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run, after the chunk was finished and saved.

    `step` is where the run stands, `code` the exit code that a program should end with: 130 after
    Ctrl-C, 143 after SIGTERM (128 plus the signal's number, as shells have it).
    """

    def __init__(self, step: int, folder: Path | None, number: int = signal.SIGINT) -> None:
        where = f"saved in {folder}" if folder else "not saved, since no run_dir was given"
        cause = "Interrupted" if number == signal.SIGINT else "Told to end (SIGTERM)"
        super().__init__(f"{cause} after step {step}, {where}.")
        self.step = step
        self.code = 128 + number


@contextmanager
def interrupts() -> Iterator[Callable[[], int]]:
    """Turns the first signal of `SIGNALS` into a question one can ask: its number, or 0.

    The second one stops at once. Only the main thread may handle signals; elsewhere the answer is
    always 0.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def handle(number: int, frame: Any) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        if seen:
            sys.exit(128 + number)
        seen.append(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number in SIGNALS:
            signal.signal(number, handle)
        yield lambda: seen[0] if seen else 0
    finally:
        for number, handler in before.items():
            # None: set by something that is not Python, so it cannot be put back by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
