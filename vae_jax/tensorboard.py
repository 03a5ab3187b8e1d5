"""Metrics for TensorBoard, through tensorboardX (`pip install 'vae-jax[tensorboard]'`)."""

import atexit
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def tensorboard_log(folder: str | Path) -> Callable[[int, Mapping[str, float]], None]:
    """A `log` for `fit(..., log=...)` that writes each metric's mean over the chunk to `folder`.

    Raises:
        ImportError: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "tensorboard_log needs tensorboardX: pip install 'vae-jax[tensorboard]'."
        ) from error

    @functools.cache
    def writer_of() -> Any:
        """Made when first needed: a new run must find its folder empty, or an older run there."""
        writer = SummaryWriter(str(folder), flush_secs=1)
        atexit.register(writer.close)  # it has a queue of its own
        return writer

    def log(step: int, metrics: Mapping[str, float]) -> None:
        writer = writer_of()
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return log
