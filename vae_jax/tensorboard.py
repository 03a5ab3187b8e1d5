"""Metrics for TensorBoard, through tensorboardX (`pip install 'vae-jax[tensorboard]'`)."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path


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
    # Made when first needed: a new run finds its folder empty, and moves an older one aside.
    writer_of = functools.cache(lambda: SummaryWriter(str(folder)))

    def log(step: int, metrics: Mapping[str, float]) -> None:
        writer = writer_of()
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log
