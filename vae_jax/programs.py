"""The compiled programs of a single run, on one device or over a mesh."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import Array, BatchFn, Key, Metrics

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
    scan = train_scan if mesh is None else _scan_on(mesh)

    @cache
    def program(length: int) -> Program:
        lowered = scan.lower(shapes, *arguments, batch_fn=batch_fn, num_steps=length)
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


def _scan_on(mesh: Mesh) -> Any:
    """`train_scan` with arguments and results that every device of the mesh has whole: what the
    compiler may spread is the batch."""
    whole = _whole(mesh)

    def run(state: TrainState, rng: Key, data: Any, beta: Array, **options: Any) -> Any:
        return train_scan(state, rng, data, beta, **options)

    static = ("batch_fn", "num_steps")
    return jax.jit(run, static_argnames=static, in_shardings=whole, out_shardings=whole)


def _whole(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
