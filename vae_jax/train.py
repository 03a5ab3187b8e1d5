"""The training program: one step, a run of steps, a row of runs. It knows no VAE."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vae_jax.checks import check_count
from vae_jax.types import Array, BatchFn, Key, LossFn, Metrics, Params, ScheduleFn


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "opt_state", "step"],
    meta_fields=["loss_fn", "optimizer"],
)
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that training changes, as a pytree: it can be vmapped, sharded and saved.

    `step` is the number of steps taken, []. `loss_fn` and `optimizer` are static: they are
    compared by identity, so build each once and keep it, or every new one costs a compile.
    No key is stored.
    """

    params: Params
    opt_state: Any
    step: Array
    loss_fn: LossFn
    optimizer: optax.GradientTransformation


def init_train_state(
    rng: Key,
    init_fn: Callable[[Key], Params],
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
) -> TrainState:
    """The state before the first step; `init_fn` is `vae.init`.

    Map it over keys for replicas: `jax.vmap(lambda rng: init_train_state(rng, ...))(rngs)`.
    """
    params = init_fn(rng)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32), loss_fn, optimizer)


@jax.jit
def train_step(state: TrainState, rng: Key, x: Array, beta: Array) -> tuple[TrainState, Metrics]:
    """One optimiser step on the batch x [B, ...] -> (state, metrics []).

    `rng` is used as it is, so pass another key at every step. Pure; no argument is donated;
    `beta` is traced, so one compile serves all its values. Replicas that share a batch:
    `jax.vmap(train_step, in_axes=(0, 0, None, 0))`.
    """
    gradient = jax.value_and_grad(state.loss_fn, has_aux=True)
    (_, metrics), grads = gradient(state.params, rng, x, beta)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return (
        dataclasses.replace(state, params=params, opt_state=opt_state, step=state.step + 1),
        metrics,
    )


@functools.partial(jax.jit, static_argnames=("batch_fn", "num_steps", "schedule", "unroll"))
def train_scan(
    state: TrainState,
    rng: Key,
    data: Any,
    beta: Array,
    *,
    batch_fn: BatchFn,
    num_steps: int,
    schedule: ScheduleFn | None = None,
    unroll: int = 1,
) -> tuple[TrainState, Metrics]:
    """`num_steps` steps as one compiled program -> (state, metrics [T]).

    With `rng_rows, rng_eps = split(rng)`, step t is

        x = batch_fn(data, rng_rows, t)
        state, metrics = train_step(state, fold_in(rng_eps, t), x, beta)

    with schedule(beta, t) for beta if a schedule is given; beta may then be any pytree of numbers.
    Here t = state.step counts on from earlier calls: two runs of T steps with one key are one
    run of 2 T steps, bit for bit. `data` is an argument, not a captured constant, so it is
    neither copied into the program nor a reason to compile again.

    `unroll` steps are compiled as one body of the loop: 4 run about a tenth faster on CPU and take
    longer to compile. But the compiler fuses such a body differently, so that a last bit may
    differ; the promise of equal bits is for `unroll=1`.

    Raises:
        TypeError, ValueError: `num_steps` or `unroll` is not a whole number of at least 1.
    """
    check_count("num_steps", num_steps)
    check_count("unroll", unroll)
    rng_rows, rng_eps = jax.random.split(rng)

    def body(state: TrainState, _: None) -> Any:
        x = batch_fn(data, rng_rows, state.step)
        beta_now = schedule(beta, state.step) if schedule else beta
        return train_step(state, jax.random.fold_in(rng_eps, state.step), x, beta_now)

    result: tuple[TrainState, Metrics]
    result = jax.lax.scan(body, state, None, length=num_steps, unroll=unroll)
    return result


def replicate(fn: Callable[..., tuple[TrainState, Metrics]]) -> Callable[..., Any]:
    """`train_step` or `train_scan` (or one of that form) for R replicas, jitted.

    state, rng and beta gain a leading axis R, and so do the results (metrics [R] or [R, T]);
    x or data is shared. Keyword arguments are static.
    """
    static = [
        name
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]

    @functools.partial(jax.jit, static_argnames=static)
    @functools.wraps(fn)
    def replicated(state: TrainState, rng: Key, data: Any, beta: Array, **options: Any) -> Any:
        mapped = jax.vmap(functools.partial(fn, **options), in_axes=(0, 0, None, 0))
        return mapped(state, rng, data, beta)

    return replicated
