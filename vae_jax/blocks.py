"""Blocks of replicas: as many as fit into memory, trained chunk by chunk, broken ones held back."""

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vae_jax.devices import shard_replicas
from vae_jax.ledger import Ledger, bare, is_key
from vae_jax.processes import gather, least, say
from vae_jax.replicas import Compiled, Row
from vae_jax.train import TrainState
from vae_jax.types import Array

AfterChunk = Callable[[int, Any, Callable[[], None]], None]
"""Called with the step reached, the metrics of the block's finite replicas, and what enters the
block's states into the ledger, should they be saved."""


def block_size(
    compiled: Compiled, rows: int, length: int, memory: int | None, wanted: int = 0
) -> int:
    """How many of the group's replicas are trained side by side, a multiple of the mesh's
    "replica" axis: all of them, or `wanted`, or as many as fit into `memory` bytes a device.

    The memory of a program is what the compiler says of the largest count tried: arguments,
    results and temporaries on one device.

    Raises:
        ValueError: not even one replica on each device fits.
    """
    width = compiled.mesh.shape["replica"]
    whole: int = width * -(-(wanted or rows) // width)
    count = whole
    limit = least(_free_memory(compiled.mesh)) if memory is None else memory
    if (wish := needed(compiled.program(count, length)[0])) > limit:
        fewest = needed(compiled.program(width, length)[0])
        if fewest > limit:
            raise ValueError(
                f"One replica on each device needs {fewest:,} bytes, there are {limit:,}: make the "
                f"network, the batch or the data smaller."
            )
        each = (wish - fewest) / (count // width - 1)
        count = width * (1 + int((limit - fewest) / each))
        while count > width and needed(compiled.program(count, length)[0]) > limit:
            count -= width
        say(f"{whole} replicas would need {wish:,} bytes a device: blocks of {count}.")
    if idle := -rows % width:
        say(f"{rows} replicas on {width} devices: {idle} are idle copies.")
    return count


def needed(program: Any) -> int:
    """Bytes on one device, by the compiler's account."""
    account = program.memory_analysis()
    return int(
        account.argument_size_in_bytes
        + account.output_size_in_bytes
        + account.temp_size_in_bytes
        - account.alias_size_in_bytes
    )


def _free_memory(mesh: Mesh) -> int:
    """Bytes that a device of the mesh may use: its own limit, or a share of the free memory."""
    stats = mesh.local_devices[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(0.9 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return 2**62
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(0.8 * free / len(mesh.local_devices))


def blocks_to_train(ledger: Ledger, num_steps: int) -> list[list[int]]:
    """The places of the replicas that are not at their end, in blocks that stand at one step."""
    size, blocks = int(ledger.block), []
    for step in sorted({*ledger.steps.tolist()} - {num_steps}, reverse=True):
        places = np.flatnonzero(ledger.steps == step).tolist()
        blocks += [places[first : first + size] for first in range(0, len(places), size)]
    return blocks


def train_block(
    compiled: Compiled,
    rows: list[Row],
    places: list[int],
    ledger: Ledger,
    num_steps: int,
    chunk_steps: int,
    after_chunk: AfterChunk,
) -> None:
    """Trains the replicas at `places` of the group, `rows`, to their end, and enters them into
    the ledger."""
    count, step = int(ledger.block), int(ledger.steps[places[0]])
    states, rngs, betas = compiled.start([rows[place] for place in places], count)
    if step:
        states = _restored(compiled, ledger, places, states)
    broken = {i: int(ledger.frozen[p]) for i, p in enumerate(places) if ledger.frozen[p]}
    while step < num_steps:
        length = min(chunk_steps, num_steps - step)
        program, _ = compiled.program(count, length)
        after, traced = program(states, rngs, compiled.data, betas)
        metrics, sound = gather((traced, _sound(after.params)))
        metrics = {name: np.array(values[: len(places)]) for name, values in metrics.items()}
        states = freeze(states, after, metrics, sound, broken, step)
        for name, values in metrics.items():
            ledger.metrics[name][places, step : step + length] = values
        step += length
        if step == num_steps:
            found = gather(compiled.look(count)(states.params, compiled.data))
            ledger.rates[places] = found["rates"][: len(places)]
            ledger.active[places] = found["active"][: len(places)]
        whole = [place for place in range(len(places)) if place not in broken]
        alive = {name: values[whole] for name, values in metrics.items() if whole}
        after_chunk(step, alive, partial(_enter, ledger, places, states, step, dict(broken)))
    _enter(ledger, places, states, step, broken)


def _enter(
    ledger: Ledger, places: list[int], states: TrainState, step: int, broken: dict[int, int]
) -> None:
    kept = gather(bare({name: getattr(states, name) for name in ledger.state}))
    for leaf, values in zip(jax.tree.leaves(ledger.state), jax.tree.leaves(kept), strict=True):
        leaf[places] = values[: len(places)]
    ledger.steps[places] = step
    for index, first in broken.items():
        ledger.frozen[places[index]] = first


def _restored(
    compiled: Compiled, ledger: Ledger, places: list[int], states: TrainState
) -> TrainState:
    """`states` as the ledger has them, the last one repeated to fill."""
    order = places + [places[-1]] * (int(ledger.block) - len(places))
    spread = shard_replicas(compiled.mesh, jax.tree.map(lambda leaf: leaf[order], ledger.state))
    like = {name: getattr(states, name) for name in spread}
    return dataclasses.replace(states, **jax.tree.map(_as_key, like, spread))


def _as_key(like: Array, leaf: Array) -> Any:
    if not is_key(like):
        return leaf
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))


@jax.jit
def _sound(params: Any) -> Array:
    """Whether all parameters of each replica are finite, [R]."""
    flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(params)]
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all(axis=1) for leaf in flat]), axis=0)


@jax.jit
def _choose(keep: Array, before: TrainState, after: TrainState) -> TrainState:
    def choose(old: Array, new: Array) -> Any:
        return jnp.where(keep.reshape(-1, *[1] * (new.ndim - 1)), old, new)

    chosen: TrainState = jax.tree.map(choose, before, after)
    return chosen


def freeze(
    before: TrainState,
    after: TrainState,
    metrics: dict[str, Any],
    sound: Any,
    broken: dict[int, int],
    first: int,
) -> TrainState:
    """`after`, but with the state before for replicas whose metrics or parameters stopped being
    finite; their metrics are NaN from that step on, and `broken` gains them. Parameters alone can
    break at the last step only: a step later the metrics would show it."""
    finite = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
    length = finite.shape[1]
    for place in np.flatnonzero(~(finite.all(axis=1) & sound[: len(finite)])):
        last = length - 1 if finite[place].all() else int(np.argmin(finite[place]))
        broken.setdefault(int(place), first + last + 1)
    for index, step in broken.items():
        for values in metrics.values():
            values[index, max(0, step - 1 - first) :] = np.nan
    if not broken:
        return after
    keep = np.zeros(len(sound), bool)
    keep[[*broken]] = True
    chosen: TrainState = _choose(keep, before, after)
    return chosen
