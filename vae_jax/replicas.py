"""The programs that train many replicas of one problem side by side."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vae_jax.devices import everywhere
from vae_jax.diagnosis import diagnose
from vae_jax.model import VAE
from vae_jax.schedules import Schedule, constant, schedule_numbers
from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import Array, BatchFn, LossFn, Params, ScheduleFn

Row = dict[str, Any]
"""The settings of one replica."""

CACHE = 2**21
"""Bytes of training state that a core of a CPU is trusted to keep near it."""


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
    shapes: Any
    """The shapes of one replica's state, with a leading axis of 1."""
    program: Callable[[int, int], tuple[Any, Any]]
    """count, length -> the compiled run of `length` steps, and the shapes of its metrics."""
    look: Callable[[int], Any]
    """count -> the compiled diagnosis of parameters."""
    data: Any
    mesh: Mesh


def check_noise(problem: Problem, std: float | None) -> None:
    """Raises ValueError unless the problem's likelihood has a noise that `std` can set."""
    if std is not None and not problem.vae.likelihood.text.startswith("normal("):
        raise ValueError(f"std is the noise of normal(), not of {problem.vae.likelihood.text}.")
    if std is not None and not problem.vae.likelihood.shared(1):
        raise ValueError("To vary std, build the VAE with normal(), whose noise is a parameter.")


def compile_group(
    problem: Problem, data: Any, varied: Row, schedule: Schedule, num_steps: int, mesh: Mesh
) -> Compiled:
    """The programs of one group, compiled when first asked for; `varied` is any of its rows."""
    start_one, names = _start(problem, varied, schedule)
    replicas, shared = PartitionSpec("replica"), PartitionSpec()
    start_all = jax.vmap(start_one)
    starts = jax.jit(start_all, out_shardings=NamedSharding(mesh, replicas))
    data = everywhere(mesh, data)

    def columns(rows: list[Row]) -> Row:
        kinds = {name: np.uint32 if name == "seed" else np.float32 for name in names}
        return {name: np.array([row[name] for row in rows]).astype(kinds[name]) for name in names}

    def start(rows: list[Row], count: int) -> tuple[Any, ...]:
        return tuple(starts(columns(rows + [rows[-1]] * (count - len(rows)))))

    def lower(fn: Callable[..., Any], specs: tuple[PartitionSpec, ...], *shapes: Any) -> Any:
        mapped = jax.shard_map(fn, mesh=mesh, in_specs=specs, out_specs=replicas, check_vma=False)
        places = tuple(NamedSharding(mesh, spec) for spec in specs)
        return jax.jit(mapped, in_shardings=places).lower(*shapes)

    shapes = jax.eval_shape(start_all, columns([varied]))[0]

    @cache
    def program(count: int, length: int) -> tuple[Any, Any]:
        run = partial(
            train_scan,
            batch_fn=problem.batch_fn,
            num_steps=length,
            schedule=_scheduled(schedule, num_steps),
        )
        states, rngs, betas = jax.eval_shape(start_all, columns([varied] * count))
        specs = (replicas, replicas, shared, replicas)
        mapped = _in_turns(run, _side_by_side(mesh, shapes), count // mesh.shape["replica"])
        lowered = lower(mapped, specs, states, rngs, data, betas)
        return lowered.compile(), lowered.out_info[1]

    @cache
    def look(count: int) -> Any:
        mapped = jax.vmap(partial(diagnose, problem.vae, problem.batch_fn), in_axes=(0, None))
        params = jax.eval_shape(start_all, columns([varied] * count))[0].params
        return lower(mapped, (replicas, shared), params, data).compile()

    return Compiled(start, shapes, program, look, data, mesh)


def _side_by_side(mesh: Mesh, shapes: Any) -> int:
    """How many replicas of these states share a program's loop: on a CPU as many as stay in its
    cache from step to step, since a step reads and writes every number of a state."""
    if mesh.devices.flat[0].platform != "cpu":
        return 2**31
    size = sum(int(leaf.size) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    return max(1, int(CACHE // size))


def _in_turns(run: Callable[..., Any], most: int, count: int) -> Callable[..., Any]:
    """`run` for `count` replicas: at most `most` side by side, one such group after the other."""

    def mapped(states: Any, rngs: Array, data: Any, betas: Any) -> Any:
        def one(replica: Any) -> Any:
            state, rng, beta = replica
            return run(state, rng, data, beta)

        fewest = -(-count // most)
        # A group of another size than the rest would be compiled for itself.
        even = (groups for groups in range(fewest, 2 * fewest) if count % groups == 0)
        groups = next(even, fewest)
        size = -(-count // groups)
        if groups == 1:
            return jax.vmap(one)((states, rngs, betas))
        return jax.lax.map(one, (states, rngs, betas), batch_size=size if size > 1 else None)

    return mapped


def _start(
    problem: Problem, varied: Row, schedule: Schedule
) -> tuple[Callable[[Any], Any], list[str]]:
    """The function from a row's traced numbers to (state, rng, betas), and their names."""
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

    names = ("seed", "beta", "learning_rate", "std", *numbers)
    return start_one, [name for name in names if varied[name] is not None]


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
