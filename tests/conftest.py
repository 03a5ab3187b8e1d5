"""Fixtures, and how the tests compile."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import optax
import pytest
from helpers import Tiny, run_fit, tiny_vae
from jax.experimental.compilation_cache import compilation_cache

import vae_jax

jax.config.update("jax_disable_most_optimizations", True)
"""The tests compile much and compute little."""


@pytest.fixture
def optimised() -> Iterator[None]:
    """Compiles as users do, for what depends on the last bit of the optimised program.

    jit keeps what it has compiled, so use it with functions that no other test has run.
    """
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs that were compiled before are read from the disk, for tests that run one sweep
    again and again."""
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs",
             "persistent_cache_min_entry_size_bytes")  # fmt: skip
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    folder = str(tmp_path_factory.mktemp("compiled"))
    for name, value in zip(before, (folder, 0.0, -1), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def make_tiny() -> Tiny:
    vae = tiny_vae()
    return Tiny(
        vae=vae,
        loss_fn=vae_jax.make_elbo(vae),
        optimizer=optax.adam(1e-2),
        batch_fn=vae_jax.array_batches(8),
        data=jax.random.normal(jax.random.key(7), (37, 3)),
    )


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    """The small training problem that most tests share."""
    return make_tiny()


@pytest.fixture(scope="module")
def own_tiny() -> Tiny:
    """The same problem, but compiled for this file alone."""
    return make_tiny()


@pytest.fixture(scope="session")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, vae_jax.Fit]:
    """The folder and the end of a run of 25 steps of `tiny`: to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_fit(tiny, 25, run_dir=folder, settings={"rate": 0.01})


@pytest.fixture
def copied(finished: tuple[Path, vae_jax.Fit], tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "run")
