"""Draw a run's figures in a process of its own, which loads matplotlib while the run trains."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def figures_of(run_dir: Path) -> Iterator[Callable[[], None]]:
    """Yields a function that draws every figure of the run, once its files are there.

    The process waits for a line and draws; if the run fails, it is ended without drawing.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.figures", str(run_dir)],
        stdin=subprocess.PIPE,
        text=True,
    )

    def draw() -> None:
        process.communicate("draw\n")
        if process.returncode:
            raise OSError(f"The figures of {run_dir} could not be drawn; see above.")

    try:
        yield draw
    finally:
        process.kill()
        process.communicate()
