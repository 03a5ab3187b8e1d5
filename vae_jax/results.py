"""The end of a sweep: what became of every replica, from training or from the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.ledger import Ledger, ledger_path, load_ledger
from vae_jax.model import VAE
from vae_jax.replicas import Problem, Row
from vae_jax.sweep_folder import read_sweep
from vae_jax.table import Group, group_rows
from vae_jax.types import Params


class Trained(NamedTuple):
    """The replicas that share shapes: `params` has a leading axis over them, in the order of
    `indices`, their rows in the table."""

    vae: VAE
    indices: list[int]
    params: Params


class Sweep(NamedTuple):
    """The end of a sweep, with arrays in the order of `table`.

    `metrics` are [R, T]; a replica that stopped being finite is in `frozen` with the first step
    that was not, and NaN from there on. `rates` [R, Z] is the mean KL of each latent dimension in
    nats (NaN where other replicas have more dimensions), `active` [R] the number of active units;
    see `vae_jax.diagnosis`.
    """

    table: list[Row]
    metrics: dict[str, np.ndarray[Any, Any]]
    groups: list[Trained]
    frozen: dict[int, int]
    rates: np.ndarray[Any, Any]
    active: np.ndarray[Any, Any]


def load_sweep(build: Callable[..., Problem], folder: str | Path) -> Sweep:
    """The finished sweep that `sweep(build, ..., run_dir=folder)` left; nothing is compiled.

    Raises:
        FileNotFoundError: there is no sweep, or a group of it was never begun.
        ValueError: it is not finished, damaged, or of another `build`.
    """
    folder = Path(folder)
    config = read_sweep(folder)
    rows, num_steps = config["table"], int(config["num_steps"])
    groups = group_rows(build, rows)
    if [group.indices for group in groups] != [group["rows"] for group in config["groups"]]:
        raise ValueError(
            f"{folder} is a sweep of another problem: build groups its rows otherwise."
        )
    ledgers = []
    for number, group in enumerate(groups):
        path, vae = ledger_path(folder, number), group.problem.vae
        init = jax.vmap(vae.init)
        state = {"params": jax.eval_shape(init, jax.random.split(jax.random.key(0), 1))}
        ledger = load_ledger(path, len(group.indices), num_steps, state, vae.prior.latent_dim)
        if left := int((ledger.steps < num_steps).sum()):
            raise ValueError(
                f"{folder} is not finished: {left} of its replicas are not; resume it."
            )
        ledgers.append(ledger)
    return collect(rows, groups, ledgers)


def collect(rows: list[Row], groups: list[Group], ledgers: list[Ledger]) -> Sweep:
    """The result of a sweep whose groups are trained."""
    widest = max(ledger.rates.shape[1] for ledger in ledgers)
    names = [n for n in ledgers[0].metrics if all(n in ledger.metrics for ledger in ledgers)]
    order = np.argsort(np.concatenate([group.indices for group in groups]))

    def joined(parts: list[Any]) -> Any:
        return np.concatenate(parts)[order]

    frozen = joined([ledger.frozen for ledger in ledgers])
    wide = [
        np.pad(ledger.rates, ((0, 0), (0, widest - ledger.rates.shape[1])), constant_values=np.nan)
        for ledger in ledgers
    ]
    trained = [Trained(group.problem.vae, group.indices, ledger.state["params"])
               for group, ledger in zip(groups, ledgers, strict=True)]  # fmt: skip
    return Sweep(
        table=rows,
        metrics={name: joined([ledger.metrics[name] for ledger in ledgers]) for name in names},
        groups=trained,
        frozen={int(index): int(frozen[index]) for index in np.flatnonzero(frozen)},
        rates=joined(wide),
        active=joined([ledger.active for ledger in ledgers]),
    )


def replica(result: Sweep, index: int) -> tuple[VAE, Params]:
    """The VAE and the trained parameters of the replica in row `index` of the table.

    Raises:
        ValueError: the table has no such row.
    """
    for group in result.groups:
        if index not in group.indices:
            continue
        place = group.indices.index(index)
        params = [jnp.asarray(leaf[place]) for leaf in jax.tree.leaves(group.params)]
        return group.vae, jax.tree.unflatten(jax.tree.structure(group.params), params)
    raise ValueError(f"There is no replica {index}; the table has {len(result.table)} rows.")
