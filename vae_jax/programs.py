"""The compiled programs of a single run, on one device or over a mesh."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import Array, BatchFn, Metrics

_initial = jax.jit(init_train_state, static_argnums=(1, 2, 3))

Program = Callable[..., tuple[TrainState, Metrics, Array]]
"""(state, rng, data, beta) -> state, metrics [T], and whether all parameters are finite, []."""


def compile_run(
    start: Callable[[], TrainState],
    arguments: Callable[[int], tuple[Any, ...]],
    batch_fn: BatchFn,
    length: int,
    mesh: Mesh | None,
) -> tuple[TrainState, Callable[[int], Program]]:
    """The first state, and the compiled program of a given number of steps.

    `arguments(length)` are those of that program behind the state, or their shapes. The program of
    `length` steps, if not 0, compiles while the initial state's does: they need each other's shapes
    only, and together they are most of a short run's time.
    """
    shapes = jax.eval_shape(start)

    @cache
    def program(length: int) -> Program:
        def run(state: TrainState, *arguments: Any) -> tuple[TrainState, Metrics, Array]:
            state, metrics = train_scan(state, *arguments, batch_fn=batch_fn, num_steps=length)
            return state, metrics, all_finite(state.params)

        # Over a mesh all devices have the whole state: what the compiler may spread is the batch.
        whole = None if mesh is None else _whole(mesh)
        lowered = jax.jit(run, in_shardings=whole, out_shardings=whole).lower(
            shapes, *arguments(length)
        )
        for name, out in lowered.out_info[1].items():
            if out.shape != (length,):
                raise ValueError(f"The metric {name!r} of a step must be one number, shape ().")
        return lowered.compile()

    with ThreadPoolExecutor(max_workers=1) as pool:
        first = pool.submit(start)
        if length:
            program(length)
        return first.result(), program


def all_finite(params: Any) -> Array:
    """Whether every number of the tree is finite, [].

    A gradient that is not finite makes parameters that are not, so this one look at a chunk's end,
    beside the terms of every step, misses nothing and costs a step nothing.
    """
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


def starting(mesh: Mesh | None) -> Callable[..., TrainState]:
    """`init_train_state`, compiled; with a mesh, its result is on all devices."""
    if mesh is None:
        return _initial
    return jax.jit(init_train_state, static_argnums=(1, 2, 3), out_shardings=_whole(mesh))


def _whole(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
