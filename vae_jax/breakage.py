"""Where a run stopped being finite, in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np


def first_broken(metrics: Mapping[str, Any], params: Any, steps_before: int) -> str | None:
    """Where something first stopped being finite, in words, or None.

    Within a step the terms are looked at before the loss that is made of them.
    """
    finite = {name: np.isfinite(values) for name, values in metrics.items()}
    if not all(map(np.all, finite.values())):
        where = {name: int(np.argmin(ok)) for name, ok in finite.items() if not ok.all()}
        name = min(where, key=lambda name: (where[name], name == "loss"))
        value = metrics[name][where[name]]
        return f"The loss stopped being finite at step {steps_before + where[name] + 1}: " + (
            f"{name} was the first term to break, with {value}"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not np.isfinite(np.asarray(leaf)).all():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            last = steps_before + len(metrics["loss"])
            return f"The parameter {name} stopped being finite by step {last}"
    return None


def advice(broken: str, folder: Path | None, step: int) -> str:
    """What broke, where the state before is, and what to do."""
    kept = f" The state after step {step} is kept in {folder}." if folder else ""
    return (
        f"{broken}.{kept} Scale the data to about unit size, lower the learning rate, clip "
        f"the gradients (optax.clip_by_global_norm), or bound the encoder's logvar "
        f"(BoundedEncoder(encoder))."
    )
