"""What is known of a group of replicas while it trains: one file for a group, all or nothing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.checkpoint import fit_tree
from vae_jax.processes import is_first
from vae_jax.snapshots import newest_arrays, save_kept

Numbers = np.ndarray[Any, Any]


class Ledger(NamedTuple):
    """Arrays on the host with a leading axis over the group's replicas; training fills them in
    place. A replica's state is that after its `steps`: it knows no block and no device."""

    steps: Numbers
    """Steps taken, [R]."""
    frozen: Numbers
    """The first step that was not finite, [R]; 0 while there is none."""
    metrics: dict[str, Numbers]
    """[R, T], NaN for steps to come and from `frozen` on."""
    state: Any
    """The tree that is kept of the replicas' training states, leaves [R, ...]."""
    rates: Numbers
    """Mean KL of each latent dimension at the end, [R, Z]."""
    active: Numbers
    """Active units at the end, [R]."""
    block: Numbers
    """Replicas that one program trains side by side, []: kept, since other shapes round other
    last bits."""


def is_key(leaf: Any) -> bool:
    """Whether an array or a shape is of typed keys."""
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def bare(tree: Any) -> Any:
    """The tree with the numbers behind its keys: numpy has no keys."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def blank(rows: int, num_steps: int, state: Any, metrics: Iterable[str], latent_dim: int) -> Ledger:
    """The ledger before the first step, for states of these shapes [., ...] and these metrics."""
    state = jax.eval_shape(bare, state)
    return Ledger(
        steps=np.zeros(rows, np.int32),
        frozen=np.zeros(rows, np.int32),
        metrics={n: np.full((rows, num_steps), np.nan, np.float32) for n in metrics},
        state=jax.tree.map(lambda leaf: np.zeros((rows, *leaf.shape[1:]), leaf.dtype), state),
        rates=np.full((rows, latent_dim), np.nan, np.float32),
        active=np.zeros(rows, np.int32),
        block=np.array(0, np.int32),
    )


def ledger_path(folder: Path, group: int) -> Path:
    return folder / f"group-{group:03d}.safetensors"


def save_ledger(folder: Path | None, group: int, ledger: Ledger) -> None:
    """Writes the group's file, on the first process.

    Raises:
        OSError: it cannot be written; the file before is untouched.
    """
    if folder and is_first():
        save_kept(ledger_path(folder, group), ledger._asdict())


def load_ledger(path: Path, rows: int, num_steps: int, state: Any, latent_dim: int) -> Ledger:
    """The newest sound ledger saved at `path`; `state` are the shapes of what is needed of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of other replicas.
    """
    arrays, path = newest_arrays(path)
    names = [name.removeprefix("metrics/") for name in arrays if name.startswith("metrics/")]
    template = blank(rows, num_steps, state, names, latent_dim)
    found = fit_tree(path, arrays, template._asdict())
    return Ledger(**jax.tree.map(np.array, found))
