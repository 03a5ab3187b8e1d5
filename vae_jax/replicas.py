"""The programs that train many replicas of one problem side by side."""

import os
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from vae_jax.model import VAE
from vae_jax.progress import Report
from vae_jax.schedules import Schedule, constant, schedule_numbers
from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import Array, BatchFn, LossFn, Params, ScheduleFn

Row = dict[str, Any]
"""The settings of one replica."""


class Problem(NamedTuple):
    """What one group of replicas trains: everything that has a shape, or is code."""

    vae: VAE
    loss_fn: LossFn
    batch_fn: BatchFn
    optimizer: Callable[..., optax.GradientTransformation] = optax.adam
    """Of the learning rate, such as `optax.adam`."""


class Compiled(NamedTuple):
    """The programs of a group, for any number of replicas."""

    start: Callable[[list[Row], int], tuple[Any, ...]]
    """rows, count -> (states, rngs, betas) of `count` replicas, the last row repeated to fill."""
    program: Callable[[int, int], Any]
    """count, length -> the compiled run of `length` steps."""
    data: Any


def compile_group(
    problem: Problem, data: Any, varied: Row, schedule: Schedule, num_steps: int, mesh: Mesh
) -> Compiled:
    """The programs of one group; `varied` is any of its rows."""
    if varied["std"] is not None and not problem.vae.likelihood.text.startswith("normal("):
        raise ValueError(f"std is the noise of normal(), not of {problem.vae.likelihood.text}.")
    if varied["std"] is not None and not problem.vae.likelihood.shared(1):
        raise ValueError("To vary std, build the VAE with normal(), whose noise is a parameter.")
    optimizer = optax.inject_hyperparams(problem.optimizer)(learning_rate=0.0)
    loss_fn = problem.loss_fn if varied["std"] is None else _fixed_noise(problem.loss_fn)
    numbers = [*schedule_numbers(schedule)]

    def start_one(row: Any) -> tuple[TrainState, Array, Any]:
        rng_init, rng_run = jax.random.split(jax.random.key(row["seed"]))
        state = init_train_state(rng_init, problem.vae.init, loss_fn, optimizer)
        state.opt_state.hyperparams["learning_rate"] = row["learning_rate"]
        if varied["std"] is not None:
            state.params["likelihood"] = jnp.full_like(
                state.params["likelihood"], 2.0 * jnp.log(row["std"])
            )
        return state, rng_run, {name: row[name] for name in ("beta", *numbers)}

    over_replicas = jax.sharding.NamedSharding(mesh, PartitionSpec("replica"))
    starts = jax.jit(jax.vmap(start_one), out_shardings=over_replicas)

    def start(rows: list[Row], count: int) -> tuple[Any, ...]:
        padded = rows + [rows[-1]] * (count - len(rows))
        names = [name for name in ("seed", "beta", "learning_rate", "std", *numbers)
                 if varied[name] is not None]  # fmt: skip
        columns = {name: np.array([row[name] for row in padded]) for name in names}
        kinds = {name: np.uint32 if name == "seed" else np.float32 for name in names}
        return tuple(starts({name: columns[name].astype(kinds[name]) for name in names}))

    @cache
    def program(count: int, length: int) -> Any:
        run = partial(
            train_scan,
            batch_fn=problem.batch_fn,
            num_steps=length,
            schedule=_scheduled(schedule, num_steps),
        )
        replicas, shared = PartitionSpec("replica"), PartitionSpec()
        mapped = jax.shard_map(
            jax.vmap(run, in_axes=(0, 0, None, 0)),
            mesh=mesh,
            in_specs=(replicas, replicas, shared, replicas),
            out_specs=replicas,
            check_vma=False,
        )
        states, rngs, betas = start([varied], count)
        return jax.jit(mapped).lower(states, rngs, data, betas).compile()

    return Compiled(start, program, data)


def fit_into_memory(
    problem: Problem,
    rows: list[Row],
    data: Any,
    schedule: Schedule,
    num_steps: int,
    chunk_steps: int,
    mesh: Mesh,
    memory: int | None,
) -> tuple[Compiled, int]:
    """The group's programs, and how many replicas go into one block.

    A block is a multiple of the mesh's replica axis; the memory of a program is what the compiler
    says of the largest count tried: arguments, results and temporaries on one device.
    """
    compiled = compile_group(problem, data, rows[0], schedule, num_steps, mesh)
    width = mesh.shape["replica"]
    count = width * -(-len(rows) // width)
    limit = _free_memory(mesh) if memory is None else memory
    length, whole = min(chunk_steps, num_steps), count
    if (needed := _needed(compiled.program(count, length))) > limit:
        least = _needed(compiled.program(width, length))
        if least > limit:
            raise ValueError(
                f"One replica on each device needs {least:,} bytes, there are {limit:,}: make the "
                f"network, the batch or the data smaller."
            )
        each = (needed - least) / (count // width - 1)
        count = width * max(1, int((limit - least) / each))
        print(f"{whole} replicas would need {needed:,} bytes a device: blocks of {count}.")
    if whole > len(rows):
        print(f"{len(rows)} replicas on {width} devices: {whole - len(rows)} are idle copies.")
    return compiled, count


def _needed(program: Any) -> int:
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
    stats = mesh.devices.flat[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(0.9 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return 2**62
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(0.8 * free / mesh.size)


def train_block(
    compiled: Compiled,
    rows: list[Row],
    count: int,
    num_steps: int,
    chunk_steps: int,
    report: Report,
    done: int,
) -> tuple[Params, dict[str, Any], dict[int, int]]:
    """Parameters, metrics [R, T] and the frozen replicas of one block."""
    states, rngs, betas = compiled.start(rows, count)
    history: list[dict[str, Any]] = []
    broken: dict[int, int] = {}
    for first in range(0, num_steps, chunk_steps):
        length = min(chunk_steps, num_steps - first)
        after, traced = compiled.program(count, length)(states, rngs, compiled.data, betas)
        metrics = {name: np.array(values)[: len(rows)] for name, values in traced.items()}
        states = _freeze(states, after, metrics, broken, first, length)
        history.append(metrics)
        whole = [place for place in range(len(rows)) if place not in broken]
        alive = {name: values[whole] for name, values in metrics.items() if whole}
        report(done + (first + length) * len(rows), alive)
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(rows)], states.params)
    joined = {name: np.concatenate([part[name] for part in history], 1) for name in history[0]}
    return params, joined, broken


def _freeze(
    before: TrainState,
    after: TrainState,
    metrics: dict[str, Any],
    broken: dict[int, int],
    first: int,
    length: int,
) -> TrainState:
    """`after`, but with the state before for replicas whose metrics or parameters stopped being
    finite; their metrics are NaN from that step on, and `broken` gains them. Parameters alone can
    break at the last step only: a step later the metrics would show it."""
    finite = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(after.params)]
    count = len(leaves[0])
    sound = np.all([np.isfinite(leaf).reshape(count, -1).all(axis=1) for leaf in leaves], axis=0)
    for place in np.flatnonzero(~(finite.all(axis=1) & sound[: len(finite)])):
        last = length - 1 if finite[place].all() else int(np.argmin(finite[place]))
        broken.setdefault(int(place), first + last + 1)
    for index, step in broken.items():
        for values in metrics.values():
            values[index, max(0, step - 1 - first) :] = np.nan
    if not broken:
        return after
    keep = np.zeros(count, bool)
    keep[[*broken]] = True

    def choose(old: Array, new: Array) -> Any:
        return jnp.where(keep.reshape(-1, *[1] * (new.ndim - 1)), old, new)

    chosen: TrainState = jax.tree.map(choose, before, after)
    return chosen


def _scheduled(schedule: Schedule, num_steps: int) -> ScheduleFn | None:
    """The schedule as train_scan wants it, of beta = {"beta": ..., **numbers} and the step."""
    if schedule is constant:
        return lambda beta, step: beta["beta"]

    def beta_at(beta: dict[str, Array], step: Array) -> Any:
        numbers = {name: value for name, value in beta.items() if name != "beta"}
        return beta["beta"] * schedule((step + 1) / num_steps, **numbers)

    return beta_at


def _fixed_noise(loss_fn: LossFn) -> LossFn:
    """The loss with the likelihood's shared parameter held where it is."""

    def fixed(params: Params, rng: Any, x: Array, beta: Any) -> Any:
        held = {**params, "likelihood": jax.lax.stop_gradient(params["likelihood"])}
        return loss_fn(held, rng, x, beta)

    return fixed
