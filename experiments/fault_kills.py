"""SIGKILL at random moments. Children are forked from a process that has imported everything and
computed nothing: XLA does not survive a fork, but has not been started there.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.fault_problem import begun, fit_once, keep_programs, sweep_once
from experiments.fault_report import Outcome
from vae_jax.checkpoint import load_arrays

Run = Callable[[Path, bool], Any]
RUNS: dict[str, tuple[Run, str]] = {
    "run": (fit_once, "checkpoint.safetensors"),
    "sweep": (sweep_once, "group-000.safetensors"),
}
TRIES = 400
"""A run that has not reached its end after so many beginnings counts as lost."""


def _child(name: str, folder: Path, cache: Path) -> None:
    """In the child: begins the run or goes on with it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    keep_programs(cache)
    RUNS[name][0](folder, begun(folder))


def _start(context: Any, name: str, folder: Path, cache: Path) -> Any:
    process = context.Process(target=_child, args=(name, folder, cache))
    process.start()
    return process


def kill_runs(folder: Path, kills: int, seed: int) -> list[Outcome]:
    """Kills runs and sweeps `kills` times in all; each killed one is resumed until it ends."""
    if kills == 0:
        return []
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.fault_kills"])
    rng = np.random.default_rng(seed)
    halves = {"run": kills - kills // 4, "sweep": kills // 4}
    return [_kill(context, folder, name, count, rng) for name, count in halves.items() if count]


def _kill(context: Any, folder: Path, name: str, kills: int, rng: np.random.Generator) -> Outcome:
    """`kills` SIGKILLs in runs of one kind."""
    cache, file = folder / "cache", RUNS[name][1]
    for attempt in ("cold", "whole"):  # the second one's time is that of a child from now on
        began = time.perf_counter()
        process = _start(context, name, folder / f"{name}-{attempt}", cache)
        process.join()
        if process.exitcode:
            raise ValueError(f"The {name} that nobody kills ended with {process.exitcode}.")
        whole_time = time.perf_counter() - began
    wanted = load_arrays(folder / f"{name}-whole" / file)
    killed = finished = lost = number = trained = 0
    said = ""
    while killed < kills:
        number += 1
        place = folder / f"{name}-{number}"
        for _ in range(TRIES):
            before = _changed(place / file)
            process = _start(context, name, place, cache)
            if killed % 2:  # every other kill comes after this process has saved
                while process.exitcode is None and _changed(place / file) == before:
                    process.join(0.005)
            process.join(rng.uniform(0, whole_time) if killed < kills else None)
            if process.exitcode is None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(process.pid, signal.SIGKILL)
                process.join()
            if process.exitcode == -signal.SIGKILL:
                killed += 1
                trained += _changed(place / file) > before
                continue
            if process.exitcode:
                said = f"{place.name} ended with exit code {process.exitcode}"
            break
        same = (place / file).is_file() and _same(load_arrays(place / file), wanted)
        finished, lost = finished + same, lost + (not same)
    good = (
        f"{finished} {name}s of {number} ended in the same bits; {trained} kills came after that "
        f"process had saved"
    )
    return Outcome(f"SIGKILL at a random moment of a {name}", killed, good, lost, said)


def _changed(path: Path) -> int:
    """When the file was written, in nanoseconds; 0 where there is none."""
    return path.stat().st_mtime_ns if path.is_file() else 0


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return set(one) == set(other) and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )
