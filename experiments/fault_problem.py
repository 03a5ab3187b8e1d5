"""The small runs that `faults` kills and damages; it must not compute anything on import."""

import functools
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import optax

import vae_jax as vj
from vae_jax import keeper
from vae_jax.replicas import Problem
from vae_jax.sweep import sweep

STEPS, CHUNK = 6_000, 50
ROWS = 64
SWEEP_STEPS = 600
TABLE = [{"seed": seed, "learning_rate": 1e-2} for seed in range(3)]


def keep_programs(cache: Path) -> None:
    """Programs that were compiled before are read from the disk: the runs are many and alike."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def rows() -> np.ndarray[Any, Any]:
    """Data [ROWS, 3] that are the same everywhere."""
    return np.random.default_rng(7).normal(size=(ROWS, 3)).astype(np.float32)


@functools.cache
def build(hidden: int = 4) -> Problem:
    vae = vj.build_vae(
        vj.MLPEncoder(2, (hidden,)), vj.MLPDecoder(3, (hidden,)),
        likelihood=vj.normal(), prior=vj.standard_normal(2), data_shape=(3,),
    )  # fmt: skip
    return Problem(vae, vj.make_elbo(vae), vj.array_batches(8))


@functools.cache
def _adam() -> optax.GradientTransformation:
    return optax.adam(1e-2)


def fit_once(folder: Path, resume: bool, steps: int = STEPS, data: Any = None) -> vj.Fit:
    """A run that saves after every chunk that it can."""
    problem, optimizer = build(), _adam()
    with mock.patch.object(keeper, "SAVE_SECONDS", -1.0):
        return vj.fit(
            problem.vae, problem.loss_fn, optimizer, rows() if data is None else data,
            jax.random.key(3), batch_fn=problem.batch_fn, num_steps=steps, chunk_steps=CHUNK,
            run_dir=folder, resume=resume, progress=False,
        )  # fmt: skip


def sweep_once(folder: Path, resume: bool) -> Any:
    """A sweep of three replicas that saves after every chunk."""
    with mock.patch.object(sys.modules["vae_jax.sweep"], "SAVE_SECONDS", -1.0):
        return sweep(
            build, TABLE, rows(), num_steps=SWEEP_STEPS, chunk_steps=CHUNK, run_dir=folder,
            resume=resume, progress=False,
        )  # fmt: skip


def begun(folder: Path) -> bool:
    """Whether there is anything to resume."""
    return (folder / "config.json").is_file()
