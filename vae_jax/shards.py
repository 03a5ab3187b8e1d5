"""One sweep as several jobs that know nothing of each other, and their results as one again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax import run_folder
from vae_jax.checkpoint import save_tree
from vae_jax.ledger import ledger_path
from vae_jax.lock import locked
from vae_jax.processes import say
from vae_jax.snapshots import newest_arrays
from vae_jax.sweep_folder import read_sweep

Config = dict[str, Any]
OWN = ("format", "versions", "shard", "num_rows", "table", "groups")
"""What shards of one sweep need not share."""


def merge_shards(folders: Iterable[str | Path], out: str | Path) -> None:
    """Writes to `out` the sweep that the shards in `folders` are parts of, as if it had been
    trained in one; they stay as they are, and an older sweep in `out` is moved aside.

    Raises:
        FileNotFoundError, ValueError: a folder holds no shard, one that is not finished or is
            damaged, a shard is missing or there twice, or they are of different sweeps.
    """
    configs = {Path(folder): read_sweep(Path(folder)) for folder in folders}
    shards = _in_order(configs)
    merged = _merged(configs, shards)
    files = [_join(shards, configs, group) for group in merged["groups"]]
    with locked(Path(out)):
        if moved := run_folder.create(Path(out), merged):
            say(f"The older sweep in {out} is now {moved}.")
        for number, arrays in enumerate(files):
            save_tree(ledger_path(Path(out), number), arrays)


def _in_order(configs: dict[Path, Config]) -> list[Path]:
    """The folders of shards 1, 2, ..., all of them."""
    found: dict[int, Path] = {}
    first = next(iter(configs), None)
    if first is None:
        raise ValueError("There are no shards to merge; name their folders.")
    for folder, config in configs.items():
        if config["shard"] is None:
            raise ValueError(f"{folder} holds a whole sweep, not a shard of one.")
        if differing := [n for n in config if n not in OWN and config[n] != configs[first].get(n)]:
            raise ValueError(
                f"{folder} is not of the same sweep as {first}: {', '.join(differing)} differ."
            )
        number, count = config["shard"]["number"], config["shard"]["count"]
        if count != configs[first]["shard"]["count"]:
            raise ValueError(f"{folder} is one of {count} shards, {first} one of another number.")
        if number in found:
            raise ValueError(f"{folder} and {found[number]} overlap: both are shard {number}.")
        found[number] = folder
    count = configs[first]["shard"]["count"]
    if missing := [str(number) for number in range(1, count + 1) if number not in found]:
        raise ValueError(f"Of {count} shards, {', '.join(missing)} are missing: nothing is merged.")
    return [found[number] for number in range(1, count + 1)]


def _merged(configs: dict[Path, Config], shards: list[Path]) -> Config:
    """The config of the whole sweep."""
    count, total = len(shards), sum(len(configs[folder]["table"]) for folder in shards)
    table: list[Any] = [None] * total
    groups: dict[str, Config] = {}
    for start, folder in enumerate(shards):
        rows = configs[folder]["table"]
        if len(table[start::count]) != len(rows):
            raise ValueError(f"{folder} has {len(rows)} rows, which no shard of {total} rows has.")
        table[start::count] = rows
        for group in configs[folder]["groups"]:
            whole = groups.setdefault(_key(group), group | {"rows": []})
            whole["rows"] += [start + count * row for row in group["rows"]]
    for group in groups.values():
        group["rows"].sort()
    ordered = sorted(groups.values(), key=lambda group: group["rows"][0])
    config = {name: value for name, value in configs[shards[0]].items() if name not in OWN}
    return config | {"shard": None, "num_rows": total, "groups": ordered, "table": table}


def _key(group: Config) -> str:
    return json.dumps({name: value for name, value in group.items() if name != "rows"})


def _join(
    shards: list[Path], configs: dict[Path, Config], group: Config
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of one group of the whole, in the order of its rows."""
    parts, rows = [], []
    for start, folder in enumerate(shards):
        for number, part in enumerate(configs[folder]["groups"]):
            if _key(part) == _key(group):
                arrays = newest_arrays(ledger_path(folder, number))[0]
                if left := int((arrays["steps"] < configs[folder]["num_steps"]).sum()):
                    raise ValueError(f"{folder} is not finished: {left} replicas are not; resume.")
                parts.append(arrays)
                rows += [start + len(shards) * row for row in part["rows"]]
    order = np.argsort(rows)
    names = [name for name in parts[0] if name != "block"]
    joined = {name: np.concatenate([part[name] for part in parts])[order] for name in names}
    return joined | {"block": np.array(len(rows), np.int32)}
