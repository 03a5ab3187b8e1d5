"""The compiled programs of a training by epochs: R replicas spread over the devices."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from vae_jax.devices import make_mesh
from vae_jax.model import batch_size
from vae_jax.patience import Course
from vae_jax.schedules import constant
from vae_jax.train import TrainState, init_train_state, train_scan
from vae_jax.types import Array, BatchFn, LossFn, Metrics, Params, ScheduleFn


class Programs(NamedTuple):
    """What the host's loop calls; every array of replicas has a leading R."""

    start: Callable[[Array], TrainState]
    """seeds [R] -> states"""
    train: Callable[..., Callable[..., tuple[TrainState, Metrics]]]
    """length, *arguments -> the compiled (states, seeds, data, beta) -> (states, metrics [R, T])"""
    validate: Callable[[Params, Any, Array], Array]
    """params, validation, beta -> bounds [R]"""
    choose: Callable[[Array, Params, Params], Params]
    """flags [R], new, old -> the new ones where the flag is set"""
    sharding: NamedSharding
    """Of the replicas' axis."""


@lru_cache(maxsize=4)
def make_programs(
    init_fn: Callable[[Any], Params],
    loss_fn: LossFn,
    optimizer: Any,
    batch_fn: BatchFn,
    schedule: ScheduleFn | None,
    rows: int,
    num_replicas: int,
) -> Programs:
    """The programs of replicas with these parts, the same for the same parts; the devices used are
    the most that divide the replicas."""
    width = max(w for w in range(1, len(jax.devices()) + 1) if num_replicas % w == 0)
    mesh = make_mesh(devices=jax.devices()[:width])
    replicas, shared = PartitionSpec("replica"), PartitionSpec()
    over = partial(jax.shard_map, mesh=mesh, out_specs=replicas, check_vma=False)
    sharding = NamedSharding(mesh, replicas)

    def start(seed: Array) -> TrainState:
        return init_train_state(_rngs(seed)[0], init_fn, loss_fn, optimizer)

    compiled: dict[Any, Any] = {}

    def train(length: int, *arguments: Any) -> Any:
        shapes = ((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        if (key := (length, *shapes)) in compiled:
            return compiled[key]
        run = partial(train_scan, batch_fn=batch_fn, num_steps=length, schedule=schedule)

        def one(state: TrainState, seed: Array, data: Any, beta: Array) -> Any:
            return run(state, _rngs(seed)[1], data, beta)

        specs = (replicas, replicas, shared, shared)
        mapped = over(jax.vmap(one, in_axes=(0, 0, None, None)), in_specs=specs)
        compiled[key] = jax.jit(mapped).lower(*arguments).compile()
        return compiled[key]

    bounds = jax.vmap(partial(_bound, loss_fn, rows), in_axes=(0, None, None))
    return Programs(
        jax.jit(jax.vmap(start), out_shardings=sharding),
        train,
        jax.jit(over(bounds, in_specs=(replicas, shared, shared))),
        jax.jit(_choose),
        sharding,
    )


def _rngs(seed: Array) -> tuple[Array, Array]:
    """The keys of a replica for its first parameters and for its run, as `fit` makes them."""
    rng_init, rng_run = jax.random.split(jax.random.key(seed))
    return rng_init, rng_run


@lru_cache(maxsize=4)
def scheduled(course: Course, total: int) -> ScheduleFn | None:
    """The course's schedule as `train_scan` takes it, over `total` steps."""
    if course.schedule is constant:
        return None
    return lambda beta, step: beta * course.schedule((step + 1) / total, **dict(course.numbers))


def _bound(loss_fn: LossFn, rows: int, params: Params, x: Any, beta: Array) -> Array:
    """The mean of `bound`, else of -loss, over all of x [M, ...], with the same noise whenever it
    is asked: [], in batches of `rows` and a last one of what is left."""
    total, rng = batch_size(x), jax.random.key(0)
    rows = min(rows, total)
    whole = total // rows

    def value(index: Any, x: Any) -> Array:
        loss, metrics = loss_fn(params, jax.random.fold_in(rng, index), x, beta)
        return metrics.get("bound", -loss)

    batches = jax.tree.map(lambda a: a[: whole * rows].reshape(whole, rows, *a.shape[1:]), x)
    added = rows * jnp.sum(jax.lax.map(lambda pair: value(*pair), (jnp.arange(whole), batches)))
    if rest := total - whole * rows:
        added = added + rest * value(whole, jax.tree.map(lambda a: a[whole * rows :], x))
    return added / total


def _choose(flags: Array, new: Params, old: Params) -> Any:
    return jax.tree.map(
        lambda a, b: jnp.where(flags.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old
    )
