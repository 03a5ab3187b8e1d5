"""Rows of runs: a replica is the run of its own seed, key and beta."""

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, init_state

import vae_jax
from vae_jax import train_scan, train_step

RNGS = [jax.random.key(seed) for seed in (11, 12, 13)]
BETAS = np.float32([0.0, 0.5, 3.0])


@pytest.fixture(scope="module")
def states(tiny):
    """One state per replica, and the same with a leading axis R."""
    single = [init_state(tiny, seed) for seed in range(3)]
    return single, jax.tree.map(lambda *leaves: np.stack(leaves), *single)


def assert_replicas(found, wanted):
    """found [R, ...] holds the results `wanted` of single runs."""
    ends, metrics = jax.device_get((arrays(found[0]), found[1]))
    singles = [(arrays(state), metrics) for state, metrics in jax.device_get(wanted)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *singles)
    chex.assert_trees_all_close((ends, metrics), stacked, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def single_steps(tiny, states):
    replicas = zip(states[0], RNGS, BETAS, strict=True)
    return [train_step(state, rng, tiny.data[:8], beta) for state, rng, beta in replicas]


def test_vmapped_steps_are_single_steps(tiny, states, single_steps):
    """vmap(train_step, in_axes=(0, 0, None, 0)) trains R replicas as one by one."""
    step = jax.vmap(train_step, in_axes=(0, 0, None, 0))
    assert_replicas(step(states[1], jax.numpy.stack(RNGS), tiny.data[:8], BETAS), single_steps)


def test_replicated_steps_are_single_steps(tiny, states, single_steps):
    """replicate(train_step) gives states and metrics [R]."""
    step = vae_jax.replicate(train_step)
    assert_replicas(step(states[1], jax.numpy.stack(RNGS), tiny.data[:8], BETAS), single_steps)


def test_replicated_runs_are_single_runs(tiny, states):
    """replicate(train_scan) gives metrics [R, T], the same as R runs of 20 steps."""
    options = {"batch_fn": tiny.batch_fn, "num_steps": 20}
    run = vae_jax.replicate(train_scan)
    found = run(states[1], jax.numpy.stack(RNGS), tiny.data, BETAS, **options)
    assert found[1]["loss"].shape == (3, 20)
    replicas = zip(states[0], RNGS, BETAS, strict=True)
    singles = [train_scan(s, rng, tiny.data, beta, **options) for s, rng, beta in replicas]
    assert_replicas(found, singles)


def test_states_are_made_by_vmap_too(tiny, states):
    """vmap(init_train_state) over keys is the row of single states."""

    @jax.jit
    @jax.vmap
    def make(rng):
        return vae_jax.init_train_state(rng, tiny.vae.init, tiny.loss_fn, tiny.optimizer)

    rngs = jax.numpy.stack([jax.random.key(seed) for seed in range(3)])
    chex.assert_trees_all_close(arrays(make(rngs)), arrays(states[1]), rtol=1e-6)
