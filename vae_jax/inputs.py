"""Checks of a run's data before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.model import VAE, check_batch
from vae_jax.types import BatchFn, Key

RUNS_ONCE: Any = {"xla_backend_optimization_level": 0}
"""Compiler options for a program whose compiling takes longer than its running."""


def check_inputs(vae: VAE, data: Any, batch_fn: BatchFn, rng: Key) -> Any:
    """`data` as the run will use it: an array on the device, anything else as it is.

    Looked at are the array itself and the first batch, which is what the VAE will see. An array of
    another shape or type than the batch, such as images in bytes, is raw material: only the batch
    has to lie in the likelihood's support.

    Raises:
        TypeError: an array that does not hold numbers, or integers where the likelihood is over
            real numbers.
        ValueError: no rows, NaN or infinite values (with the first rows that hold them), values
            outside the likelihood's support, or examples of another shape than the VAE's.
    """
    if isinstance(data, list):
        data = np.asarray(data)
    if isinstance(data, np.ndarray | jax.Array):
        _check_kind("data", np.asarray(data))
        data = jnp.asarray(data)
        if data.ndim == 0 or data.shape[0] == 0:
            raise ValueError(f"data has no rows: its shape is {data.shape}.")
        _check_finite("data", np.asarray(data))
    first = jax.jit(batch_fn).lower(data, rng, jnp.zeros((), jnp.int32))
    batch = first.compile(RUNS_ONCE)(data, rng, jnp.zeros((), jnp.int32))
    check_batch(vae, batch)
    values = np.asarray(batch)
    _check_kind("the first batch", values)
    _check_finite("the first batch", values)
    vae.likelihood.check(values)
    rows = (vae.data_shape, batch.dtype)
    if isinstance(data, jax.Array) and (data.shape[1:], data.dtype) == rows:
        vae.likelihood.check(np.asarray(data))
    return data


def check_key(rng: Any) -> None:
    """Raises TypeError unless `rng` is a key, as `jax.random.key(seed)` makes it."""
    if not isinstance(rng, jax.Array) or not jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        raise TypeError(f"rng must be a key such as jax.random.key(0), got {rng!r}.")


def _check_kind(name: str, values: np.ndarray[Any, Any]) -> None:
    if not jnp.issubdtype(values.dtype, jnp.floating) and values.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold real numbers, got type {values.dtype}.")


def _check_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    if values.dtype.kind in "iub" or np.isfinite(values).all():
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    rows = np.flatnonzero(bad)
    raise ValueError(
        f"{name} holds NaN or infinite values in {len(rows)} of {len(values)} rows, first in "
        f"rows {rows[:5].tolist()} (as float32); remove or fill them."
    )
