"""The folder of a sweep: config.json says what is trained, a file for each group holds how far."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import run_folder
from vae_jax.checkpoint import fingerprint
from vae_jax.lock import locked
from vae_jax.processes import on_first, say
from vae_jax.replicas import Row
from vae_jax.run_folder import objective_name
from vae_jax.schedules import Schedule
from vae_jax.spec import describe
from vae_jax.table import Group

KIND = "sweep"


def sweep_config(
    rows: list[Row],
    groups: list[Group],
    schedule: Schedule,
    num_steps: int,
    data: Any,
    shard: tuple[int, int] | None,
    settings: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What config.json says of a sweep, and what must be the same on resuming.

    Raises:
        TypeError: a setting cannot be kept as JSON.
    """
    run_folder.check_settings(settings)
    return {
        "kind": KIND,
        "num_steps": num_steps,
        "num_rows": len(rows),
        "schedule": schedule.__name__,
        "shard": None if shard is None else {"number": shard[0], "count": shard[1]},
        "data": fingerprint(data),
        "settings": dict(settings or {}),
        "groups": [
            {
                "settings": {name: _plain(value) for name, value in group.settings.items()},
                "noisy": group.noisy,
                "rows": group.indices,
                "vae": describe(group.problem.vae),
                "objective": objective_name(group.problem.loss_fn),
                "latent_dim": group.problem.vae.prior.latent_dim,
            }
            for group in groups
        ],
        "table": [{name: _plain(value) for name, value in row.items()} for row in rows],
    }


def open_sweep(stack: ExitStack, folder: Path | None, resume: bool, config: dict[str, Any]) -> None:
    """Makes or reopens the folder, which is this process's until `stack` is closed; refuses one
    that does not fit.

    Raises:
        TypeError, ValueError, FileNotFoundError, OSError: as `run_folder.create`, `check_same`.
    """
    if folder is None:
        if resume:
            raise ValueError("To resume, name the run_dir of the sweep that was stopped.")
        return
    if resume:
        run_folder.check_same(folder, config, free=())

    def begin() -> None:
        stack.enter_context(locked(folder))
        if not resume and (moved := run_folder.create(folder, config)):
            say(f"The older sweep in {folder} is now {moved}.")

    on_first(begin)


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of a sweep's config.json, with settings that were tuples as tuples.

    Raises:
        FileNotFoundError, ValueError: it is no sweep, or damaged.
    """
    config = run_folder.read_config(folder)
    if config.get("kind") != KIND:
        raise ValueError(f"{folder} holds a single run, not a sweep.")
    names = ("num_steps", "schedule", "groups", "table", "settings", "shard")
    if missing := [name for name in names if name not in config]:
        raise ValueError(f"{folder} is damaged: its config.json lacks {', '.join(missing)}.")
    for row in config["table"]:
        row.update({name: _tuples(value) for name, value in row.items()})
    return config


def _plain(value: Any) -> Any:
    """A setting as JSON has it; a function is its name."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return getattr(value, "__qualname__", None) or repr(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
