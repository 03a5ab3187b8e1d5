"""What several test files use."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import vae_jax
from vae_jax.types import Array, BatchFn, LossFn


class Tiny(NamedTuple):
    """A small training problem. Its parts are shared by all tests, and with them the compiles."""

    vae: vae_jax.VAE
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    batch_fn: BatchFn
    data: Array


def tiny_vae(likelihood: vae_jax.Likelihood | None = None, **options: Any) -> vae_jax.VAE:
    """Three data and two latent dimensions, smooth networks of four units; `options` override."""
    likelihood = likelihood or vae_jax.normal()
    num_params = getattr(likelihood, "num_params", 1)
    parts = {
        "encoder": vae_jax.MLPEncoder(2, (4,), jax.numpy.tanh),
        "decoder": vae_jax.MLPDecoder(3 * num_params, (4,), jax.numpy.tanh),
        "likelihood": likelihood,
        "prior": vae_jax.standard_normal(2),
        "data_shape": (3,),
    }
    return vae_jax.build_vae(**{**parts, **options})


def init(vae: vae_jax.VAE, seed: int = 0) -> Any:
    return vae.init(jax.random.key(seed))


def draws(fn: Callable[[Array], Any], num: int, seed: int = 0) -> Any:
    """fn(rng) for `num` keys, as one compiled call."""
    return jax.jit(jax.vmap(fn))(jax.random.split(jax.random.key(seed), num))


def init_state(tiny: Tiny, seed: int = 0) -> vae_jax.TrainState:
    init = jax.jit(vae_jax.init_train_state, static_argnums=(1, 2, 3))
    return init(jax.random.key(seed), tiny.vae.init, tiny.loss_fn, tiny.optimizer)


def arrays(state: vae_jax.TrainState) -> tuple[Any, Any, Any]:
    """What of a state is saved and compared."""
    return state.params, state.opt_state, state.step


def run_fit(tiny: Tiny, num_steps: int, **options: Any) -> vae_jax.Fit:
    """A short, quiet `fit` of `tiny`; `options` override any of its arguments."""
    arguments = {
        "vae": tiny.vae,
        "loss_fn": tiny.loss_fn,
        "optimizer": tiny.optimizer,
        "data": tiny.data,
        "rng": jax.random.key(3),
        "batch_fn": tiny.batch_fn,
        "num_steps": num_steps,
        "chunk_steps": 10,
        "progress": False,
    }
    return vae_jax.fit(**{**arguments, **options})


def assert_mean(values: Any, expected: Any) -> None:
    """The mean of independent `values` along axis 0 is `expected`, within 4 standard errors."""
    values = np.asarray(values, np.float64)
    error = values.std(axis=0, ddof=1) / len(values) ** 0.5
    distance = np.abs(values.mean(axis=0) - np.asarray(expected, np.float64))
    assert np.all(error > 0), "the values do not vary, so they have no standard error"
    assert np.all(distance <= 4 * error), f"{np.max(distance / error):.1f} standard errors"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def csv_rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))
