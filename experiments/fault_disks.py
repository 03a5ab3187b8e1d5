"""Every write of a run made to fail, once or for good, and clocks that jump."""

import builtins
import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from experiments.fault_problem import CHUNK, begun, fit_once
from experiments.fault_report import Outcome
from vae_jax import keeper
from vae_jax.checkpoint import load_arrays
from vae_jax.keeper import NotSaved

STEPS = 4 * CHUNK
CALLS = ("open", "fsync", "replace", "link")
ERRORS = {"disk full": errno.ENOSPC, "read-only": errno.EROFS}


class Faulty:
    """Counts the calls that write, and lets the `first`-th fail, and those after it for good if
    `lasting`; half a file is left where a write fails."""

    def __init__(self, first: int, lasting: bool, number: int) -> None:
        self.calls, self.first, self.lasting, self.number = 0, first, lasting, number

    def due(self) -> bool:
        self.calls += 1
        return self.calls == self.first or (self.lasting and self.calls > self.first)

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if self.due():
                raise OSError(self.number, os.strerror(self.number))
            return call(*arguments, **options)

        return wrapped

    def open(self, path: Any, mode: str = "r", **options: Any) -> Any:
        if ("w" in mode or "+" in mode) and self.due():
            with contextlib.suppress(OSError), builtins.open(path, mode, **options) as file:
                file.seek(0, 2)
                file.write(b"half")
            raise OSError(self.number, os.strerror(self.number))
        return builtins.open(path, mode, **options)


@contextlib.contextmanager
def failing(fault: Faulty) -> Iterator[None]:
    """Within it the writes of vae_jax go through `fault`."""
    with contextlib.ExitStack() as stack:
        for module in ("checkpoint", "metrics_file"):
            stack.enter_context(mock.patch(f"vae_jax.{module}.open", fault.open, create=True))
        for name in CALLS[1:]:
            stack.enter_context(mock.patch(f"os.{name}", fault.wrap(getattr(os, name))))
        yield


def fail_writes(folder: Path) -> list[Outcome]:
    """A run for every write that it makes, with that write failing; then clocks."""
    folder.mkdir(parents=True)
    with mock.patch.object(keeper, "RETRY_SECONDS", 0.0):
        fit_once(folder / "whole", False, STEPS)
        wanted = load_arrays(folder / "whole" / "checkpoint.safetensors")
        counting = Faulty(0, False, 0)
        with failing(counting):
            fit_once(folder / "counted", False, STEPS)
        writes = counting.calls
        outcomes = []
        for name, number in ERRORS.items():
            for lasting in (False, True):
                tally = [_try(folder, Faulty(first, lasting, number), wanted)
                         for first in range(1, writes + 1)]  # fmt: skip
                bad = [text for text in tally if text.startswith("bad")]
                kinds = ", ".join(f"{tally.count(k)} {k}" for k in sorted({*tally} - {*bad}))
                what = f"{name}, {'from' if lasting else 'at'} each write of a run"
                outcomes.append(Outcome(what, writes, kinds, len(bad), "; ".join(bad[:3])))
        return [*outcomes, _clocks(folder, wanted)]


def _try(folder: Path, fault: Faulty, wanted: dict[str, Any]) -> str:
    """What became of the run, and of the one that goes on when the disk is well again."""
    place = folder / f"{fault.number}-{fault.lasting}-{fault.first}"
    became = "ran on"
    try:
        with failing(fault):
            fit_once(place, False, STEPS)
    except NotSaved as error:
        became = "ended with an error that names the file" if _names(error, place) else "bad"
    except OSError as error:
        became = "refused at the start" if not _saved(place) and _names(error, place) else "bad"
    except Exception as error:
        return f"bad: {type(error).__name__}: {error}"
    if became == "bad":
        return f"bad: {fault.first} does not name the file, or lost a checkpoint"
    fit_once(place, begun(place), STEPS)
    same = _same(load_arrays(place / "checkpoint.safetensors"), wanted)
    return f"{became}, then the same bits" if same else f"bad: {fault.first} ended in other bits"


def _names(error: OSError, place: Path) -> bool:
    return str(place) in str(error)


def _saved(place: Path) -> bool:
    return (place / "checkpoint.safetensors").is_file()


def _clocks(folder: Path, wanted: dict[str, Any]) -> Outcome:
    """time.time, monotonic and perf_counter leap by days, back and forth."""
    leaps = iter(range(10**9))

    def leaping(clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + 86_400.0 * (-1) ** next(leaps) * (next(leaps) % 7)

    clocks = ("time", "monotonic", "perf_counter")
    with contextlib.ExitStack() as stack:
        for name in clocks:
            stack.enter_context(mock.patch(f"time.{name}", leaping(getattr(time, name))))
        fit_once(folder / "clocks", False, STEPS)
    same = _same(load_arrays(folder / "clocks" / "checkpoint.safetensors"), wanted)
    return Outcome("clocks that leap by days", len(clocks), "the same bits", int(not same))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return set(one) == set(other) and all(one[n].tobytes() == other[n].tobytes() for n in one)
