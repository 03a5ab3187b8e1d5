"""Kills, flips, cuts, malformed inputs, full disks and clock jumps: what becomes of runs and files.

Writes a markdown table to OUT/faults.md; see experiments/README.md for the last full one.
"""

import dataclasses
import datetime
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path

from experiments import fault_disks, fault_files, fault_inputs, fault_kills
from experiments.command import run
from experiments.fault_problem import keep_programs
from experiments.fault_report import Outcome, markdown
from vae_jax.checkpoint import write_atomic
from vae_jax.checks import check_count, check_seed

MEMORY = Path("/dev/shm")
"""Where there is one: files that are read once each need no disk."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags; 0 leaves a part out."""

    kills: int = 200
    """SIGKILLs at random moments, over training, saving and resuming."""
    flips: int = 500
    """Random bytes changed in checkpoint, config, metrics and data files."""
    cuts: int = 200
    """The same files cut at random places."""
    inputs: int = 100_000
    """Malformed files and texts."""
    disks: bool = True
    """Disk full and read-only at each write, and clock jumps."""
    seed: int = 0
    """Seed of all that is random here but the moments at which processes run."""
    out: Path = Path("results/faults")
    """Folder of the table."""


def main(settings: Settings) -> None:
    check_seed(settings.seed)
    for name in ("kills", "flips", "cuts", "inputs"):
        check_count(name, getattr(settings, name), 0)
    settings.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged files are what this is about
        folder = Path(scratch)
        keep_programs(folder / "cache")
        outcomes += fault_kills.kill_runs(folder / "kills", settings.kills, settings.seed)
        if settings.disks:
            outcomes += fault_disks.fail_writes(folder / "disks")
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as quick:
            outcomes += fault_files.damage(
                Path(quick) / "files", settings.flips, settings.cuts, settings.seed
            )
            outcomes += fault_inputs.malformed(
                Path(quick) / "inputs", settings.inputs, settings.seed
            )
    machine = f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()}"
    head = (
        f"{datetime.date.today().isoformat()}, {machine}, seed {settings.seed}, "
        f"{time.perf_counter() - began:.0f} s in all.\n\n"
    )
    text = head + markdown(outcomes)
    write_atomic(settings.out / "faults.md", text.encode())
    print(text)
    if bad := [outcome for outcome in outcomes if outcome.bad]:
        raise ValueError(f"{sum(outcome.bad for outcome in bad)} faults were not withstood.")


if __name__ == "__main__":
    run(main, Settings)
