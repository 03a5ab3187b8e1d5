"""The compiled programs of a single run, on one device or over a mesh."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import BatchFn, Metrics

_initial = jax.jit(init_train_state, static_argnums=(1, 2, 3))

Program = Callable[..., tuple[TrainState, Metrics]]


def compile_run(
    start: Callable[[], TrainState],
    arguments: tuple[Any, ...],
    batch_fn: BatchFn,
    chunk_steps: int,
    num_steps: int,
    mesh: Mesh | None,
) -> tuple[TrainState, Callable[[int], Program]]:
    """The first state, and the compiled program of a given number of steps.

    The program of a whole chunk compiles while the initial state's does: they need each other's
    shapes only, and together they are most of a short run's time.
    """
    shapes = jax.eval_shape(start)

    @cache
    def program(length: int) -> Program:
        run = partial(train_scan, batch_fn=batch_fn, num_steps=length)
        # Over a mesh all devices have the whole state: what the compiler may spread is the batch.
        whole = None if mesh is None else _whole(mesh)
        lowered = jax.jit(run, in_shardings=whole, out_shardings=whole).lower(shapes, *arguments)
        for name, out in lowered.out_info[1].items():
            if out.shape != (length,):
                raise ValueError(f"The metric {name!r} of a step must be one number, shape ().")
        return lowered.compile()

    with ThreadPoolExecutor(max_workers=1) as pool:
        first = pool.submit(start)
        program(min(chunk_steps, num_steps))
        return first.result(), program


def starting(mesh: Mesh | None) -> Callable[..., TrainState]:
    """`init_train_state`, compiled; with a mesh, its result is on all devices."""
    if mesh is None:
        return _initial
    return jax.jit(init_train_state, static_argnums=(1, 2, 3), out_shardings=_whole(mesh))


def _whole(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
