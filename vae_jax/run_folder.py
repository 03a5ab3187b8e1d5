"""The folder of a run: config.json, metrics.csv, checkpoints, and a reader for them.

Format 1 had one checkpoint and no checksum in config.json; format 2 has both, and is what is
written.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vae_jax.checkpoint import read_json, write_json
from vae_jax.lock import LOCK, carry_over, locked
from vae_jax.metrics_file import Series, append_metrics
from vae_jax.model import VAE
from vae_jax.snapshots import any_kept, load_kept, save_kept
from vae_jax.spec import describe, rebuild
from vae_jax.types import LossFn, Params

FORMAT, READABLE = 2, (1, 2)
CONFIG, CHECKPOINT = "config.json", "checkpoint.safetensors"
CHECKSUM = "sha256"
"""The name under which config.json keeps the checksum of all else in it."""
SHOWN = 5
"""Differences that a message lists."""


class Run(NamedTuple):
    """A saved run: the VAE, its trained parameters and the content of config.json."""

    vae: VAE
    params: Params
    config: dict[str, Any]


def load_run(path: str | os.PathLike[str], vae: VAE | None = None) -> Run:
    """The run saved in the folder `path`. Pass `vae` if its networks are your own code.

    If the newest checkpoint is damaged, a warning says so and the one before it is read.

    Raises:
        FileNotFoundError: there is no such run, or it has no checkpoint yet.
        ValueError: a file is damaged, or of a format that this version does not know.
    """
    folder = Path(path)
    config = read_config(folder)
    if config.get("kind") == "sweep":
        raise ValueError(f"{folder} holds a sweep, not a run; its best run is {folder / 'best'}.")
    if vae is None:
        try:
            vae = rebuild(config["vae"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder / CONFIG}: {error}") from error
    if not any_kept(folder / CHECKPOINT):
        raise FileNotFoundError(f"{folder} has no checkpoint yet: the run stopped before one.")
    template = {"params": jax.eval_shape(vae.init, jax.random.key(0))}
    return Run(vae, load_kept(folder / CHECKPOINT, template)["params"], config)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of the run's config.json.

    Raises:
        FileNotFoundError: `folder` is not a run folder.
        ValueError: the file is damaged, or of a format that this version does not know.
    """
    path = folder / CONFIG
    if not path.is_file():
        what = "has no config.json, so it is not a run folder" if folder.exists() else "is missing"
        raise FileNotFoundError(f"{folder} {what}; a run is a folder that fit has written.")
    config = read_json(path)
    number = config.get("format")
    if type(number) is not int or number not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise ValueError(f"{path} has format {number!r}, this version of vae_jax reads {known}.")
    if (number > 1 or CHECKSUM in config) and config.get(CHECKSUM) != _checksum(config):
        raise ValueError(
            f"{path} is damaged, or was changed by hand: its content does not match its checksum."
        )
    config.pop(CHECKSUM, None)
    if config.get("kind") != "sweep" and not isinstance(config.get("vae"), dict):
        raise ValueError(f"{path} is damaged: it does not describe a VAE.")
    return config


def create(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """Makes `folder` a new run; an older run there is moved aside, and its new place returned.

    To be called while `lock.locked(folder)` is held.

    Raises:
        ValueError: `folder` holds something that is not a run, or is a file.
        TypeError: `config` holds what JSON cannot.
        OSError: it cannot be written.
    """
    content = json.dumps(config)
    moved = None
    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file; name a folder for the run.")
        if (folder / CONFIG).is_file():
            moved = _free_name(folder)
            folder.rename(moved)
            folder.mkdir()
            carry_over(moved, folder)
        elif any(path.name != LOCK for path in folder.iterdir()):
            raise ValueError(
                f"{folder} holds files but no run (no config.json), and nothing of yours is "
                f"overwritten; name an empty or a new folder."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_config(folder, json.loads(content))
    except OSError as error:
        raise type(error)(f"Cannot write the run folder {folder}: {error}") from error
    return moved


def save_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json with the format number, the versions that made it and a checksum.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    versions = {name: _version(name) for name in ("jax", "flax", "vae-jax")}
    content = json.loads(json.dumps({"format": FORMAT, "versions": versions, **config}))
    write_json(folder / CONFIG, content | {CHECKSUM: _checksum(content)})


def save_run(
    folder: Path,
    vae: VAE,
    params: Params,
    metrics: Series,
    *,
    objective: str,
    settings: Mapping[str, Any],
) -> None:
    """Writes a finished run, trained elsewhere, that `load_run` opens; it cannot be resumed.

    Raises:
        ValueError, TypeError, OSError: as `create`.
    """
    steps = len(metrics["loss"])
    kept = {"beta": float(settings.get("beta", 1.0)), "num_steps": steps, "settings": settings}
    kept["resumable"] = False
    with locked(folder):
        create(folder, {"vae": describe(vae), "objective": objective, **kept})
        append_metrics(folder, 1, metrics)
        save_kept(folder / CHECKPOINT, {"params": params})


def check_settings(settings: Mapping[str, Any] | None) -> None:
    """Raises TypeError, naming the setting, unless all of them can be kept as JSON."""
    for name, value in (settings or {}).items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"settings[{name!r}] cannot be kept as JSON: {error}") from error


def objective_name(loss_fn: LossFn) -> str:
    """The name of the function that made the loss, such as "make_elbo"."""
    name: str = getattr(loss_fn, "__qualname__", type(loss_fn).__name__)
    return name.split(".")[0]


def check_same(
    folder: Path, config: Mapping[str, Any], free: tuple[str, ...] = ("num_steps",)
) -> None:
    """Raises ValueError, naming what differs, unless the run in `folder` was begun as `config`.

    What is named in `free` may differ: a run can be made longer.
    """
    saved = read_config(folder)
    kinds = [each.get("kind", "single run") for each in (saved, config)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{folder} holds a {kinds[0]}, which cannot be resumed as a {kinds[1]}.")
    if not saved.get("resumable", True):
        raise ValueError(f"{folder} was saved as a finished run and cannot be resumed.")
    old, new = _flat(saved), _flat(json.loads(json.dumps(config)))
    free = ("format", *free, *(name for name in old if name.startswith("versions.")))
    if saved["format"] == 1 and "data" not in saved:
        free = (*free, "data")  # format 1 did not say it of single runs
    names = [name for name in new | old if name not in free]
    # repr, since a NaN is the same setting as before but not equal to it.
    if differing := [n for n in names if repr(old.get(n)) != repr(new.get(n))]:
        listed = "; ".join(f"{n} was {old.get(n)}, is now {new.get(n)}" for n in differing[:SHOWN])
        listed += f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ValueError(
            f"{folder} cannot be resumed with other settings: {listed}. "
            f"Use the old ones, or begin a new run in another folder."
        )


def _checksum(config: Mapping[str, Any]) -> str:
    """SHA-256 of all of it but the checksum itself, whatever its order and white space."""
    content = {name: value for name, value in config.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


def _free_name(folder: Path) -> Path:
    folder = folder.resolve()
    names = (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}, and so the entries of lists of such."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            value = {str(index): entry for index, entry in enumerate(value)}
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
