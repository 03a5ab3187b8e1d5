"""A chunk that broke, looked at again: a run is a function of its key, so it breaks again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.data.arrays import array_batches
from vae_jax.train import TrainState, train_scan, train_step
from vae_jax.types import Array, BatchFn, Key

ROW_BATCHES = ("array_batches.", "image_batches.")
"""Batches whose rows `array_batches` can tell."""
SHOWN = 32


def find_broken(
    state: TrainState, rng: Key, data: Any, beta: Array, *, batch_fn: BatchFn, num_steps: int
) -> tuple[int, str] | None:
    """Which of the `num_steps` steps after `state` first met a number that is not finite, counted
    from 0, and in which tensor, in words; None where none did.

    Within a step the order is that of computing: the batch, the terms, the loss, the gradients,
    the parameters after the update. It is `train_scan` with flags, compiled only when needed.
    """
    rng_rows, rng_eps = jax.random.split(rng)
    names: list[str] = []

    def body(state: TrainState, _: None) -> tuple[TrainState, Array]:
        x = batch_fn(data, rng_rows, state.step)
        rng_now = jax.random.fold_in(rng_eps, state.step)
        grad = jax.grad(state.loss_fn, has_aux=True)
        grads, terms = grad(state.params, rng_now, x, beta)
        after, _ = train_step(state, rng_now, x, beta)
        looked = [("the batch", x), ("the term", {n: v for n, v in terms.items() if n != "loss"})]
        looked += [("the loss", terms["loss"])]
        looked += [("the gradient of", grads), ("the parameter", after.params)]
        flags = [flag for what, tree in looked for flag in _flags(what, tree, names)]
        return after, jnp.stack(flags)

    run = jax.jit(lambda state: jax.lax.scan(body, state, None, length=num_steps)[1])
    flags = np.asarray(run(state))
    if flags.all():
        return None
    step = int(np.argmin(flags.all(axis=1)))
    return step, names[int(np.argmin(flags[step]))]


def _flags(what: str, tree: Any, names: list[str]) -> list[Array]:
    """Whether each leaf is finite; their names are added to `names`."""
    flags = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        names.append(f"{what} {name}".strip())
        flags.append(jnp.isfinite(leaf).all())
    return flags


def batch_rows(batch_fn: BatchFn, data: Any, rng: Key, step: int) -> str:
    """The rows of `data` in the batch of that step, in words; those that are not finite first and
    alone, where there are some. Empty where the batch is not made of rows."""
    leaf = next((leaf for leaf in jax.tree.leaves(data) if isinstance(leaf, jax.Array)), None)
    if leaf is None or not getattr(batch_fn, "__qualname__", "").startswith(ROW_BATCHES):
        return ""
    rng_rows, _ = jax.random.split(rng)
    x = batch_fn(data, rng_rows, jnp.int32(step))
    first = np.asarray(jax.tree.leaves(x)[0], np.float32)
    numbers = array_batches(len(first))(jnp.arange(len(leaf)), rng_rows, jnp.int32(step))
    rows = np.asarray(numbers)
    bad = ~np.isfinite(first.reshape(len(first), -1)).all(axis=1)
    chosen = rows[bad] if bad.any() else rows
    listed = ", ".join(map(str, chosen[:SHOWN]))
    more = f" and {len(chosen) - SHOWN} more" if len(chosen) > SHOWN else ""
    what = "Rows that are not finite in its batch" if bad.any() else "The rows of its batch"
    return f" {what}: {listed}{more}."


def with_nan_checks(
    state: TrainState, rng: Key, data: Any, beta: Array, *, batch_fn: BatchFn, step: int
) -> FloatingPointError | None:
    """What jax's own checks (`jax.debug_nans`, then `jax.debug_infs`) raise in the step that comes
    `step` steps after `state`, run operation by operation: its traceback leads to the line."""
    if step:
        state, _ = train_scan(state, rng, data, beta, batch_fn=batch_fn, num_steps=step)
    rng_rows, rng_eps = jax.random.split(rng)
    rng_now = jax.random.fold_in(rng_eps, state.step)
    for check in (jax.debug_nans, jax.debug_infs):
        try:
            with check(True), jax.disable_jit():
                x = batch_fn(data, rng_rows, state.step)
                grads, _ = jax.grad(state.loss_fn, has_aux=True)(state.params, rng_now, x, beta)
                updates, _ = state.optimizer.update(grads, state.opt_state, state.params)
                optax.apply_updates(state.params, updates)
        except FloatingPointError as error:
            return error
    return None
