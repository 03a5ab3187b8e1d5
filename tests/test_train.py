"""The training program: one step, a run of steps."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import arrays, init_state
from tables import affine, affine_encoder

import vae_jax
from vae_jax import train_scan, train_step

RNG = jax.random.key(5)


def scan(tiny, state, num_steps, rng=RNG, beta=0.5, **options):
    return train_scan(
        state, rng, tiny.data, beta, batch_fn=tiny.batch_fn, num_steps=num_steps, **options
    )


def loop(tiny, state, steps, rng=RNG, beta=0.5):
    """The loop that the docstring of train_scan describes."""
    rng_rows, rng_eps = jax.random.split(rng)
    history, rows = [], jax.jit(tiny.batch_fn)
    for step in steps:
        x = rows(tiny.data, rng_rows, step)
        state, metrics = train_step(state, jax.random.fold_in(rng_eps, step), x, beta)
        history.append(metrics)
    return state, jax.tree.map(lambda *values: np.stack(values), *history)


def test_train_scan_is_the_loop_of_train_step(tiny):
    """T steps of one program = T calls of train_step, with metrics [T], also from step T on."""
    state = init_state(tiny)
    for first in (0, 20):
        scanned, metrics = scan(tiny, state, 20)
        looped, history = loop(tiny, state, range(first, first + 20))
        chex.assert_trees_all_close(metrics, history, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(arrays(scanned), arrays(looped), rtol=1e-4, atol=1e-5)
        assert int(scanned.step) == first + 20
        state = scanned


@pytest.mark.usefixtures("optimised")
def test_two_runs_are_one_longer_run_bit_for_bit(own_tiny):
    """7 + 7 steps = 14 steps: every bit of parameters, optimiser and metrics."""
    whole, metrics = scan(own_tiny, init_state(own_tiny), 14)
    first, before = scan(own_tiny, init_state(own_tiny), 7)
    second, after = scan(own_tiny, first, 7)
    chex.assert_trees_all_equal(arrays(second), arrays(whole))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), before, after)
    chex.assert_trees_all_equal(joined, jax.device_get(metrics))


@pytest.mark.usefixtures("optimised")
def test_unrolling_changes_no_more_than_rounding(own_tiny):
    """unroll=4 over 14 steps, two of them left over, is unroll=1 up to float32 rounding."""
    one, metrics = scan(own_tiny, init_state(own_tiny), 14)
    four, other = scan(own_tiny, init_state(own_tiny), 14, unroll=4)
    chex.assert_trees_all_close(arrays(one), arrays(four), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(metrics, other, rtol=1e-4, atol=1e-5)


def test_the_key_decides_everything(tiny):
    """The same key gives the same run, another key another one; the state stores no key."""
    state = init_state(tiny)
    rngs = [jax.random.key(seed) for seed in (0, 0, 1)]
    runs = [np.asarray(scan(tiny, state, 20, rng=rng)[1]["loss"]) for rng in rngs]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.all(runs[0] != runs[2])
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(state)]
    assert not any(jnp.issubdtype(dtype, jax.dtypes.prng_key) for dtype in dtypes)


def test_the_noise_of_a_step_belongs_to_that_step(tiny):
    """With parameters held still, the loss of step t is loss_fn(params, fold_in(rng, t), x_t)."""
    held = tiny._replace(optimizer=optax.sgd(0.0), batch_fn=lambda data, rng, step: data[:8])
    state, metrics = scan(held, init_state(held), 5)
    _, rng_eps = jax.random.split(RNG)
    loss_fn = jax.jit(tiny.loss_fn)
    keys = [jax.random.fold_in(rng_eps, t) for t in range(5)]
    losses = [loss_fn(state.params, key, tiny.data[:8], 0.5)[0] for key in keys]
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-5)
    assert len(set(np.asarray(metrics["loss"]).tolist())) == 5


def test_one_compile_serves_every_beta_and_nothing_is_donated(tiny):
    """train_step traces its loss once for all betas, and leaves its arguments usable."""
    chex.clear_trace_counter()
    plain = tiny._replace(
        loss_fn=chex.assert_max_traces(tiny.loss_fn, n=1), optimizer=optax.sgd(0.1)
    )
    state, x = init_state(plain), tiny.data[:8]
    before = jax.tree.map(jnp.copy, arrays(state))
    ends = [train_step(state, RNG, x, beta)[0].params for beta in (0.0, 0.5, 2.0)]
    chex.assert_trees_all_equal(arrays(state), before)
    slopes = jax.tree.map(lambda a, b, c: ((b - a) / 0.5, (c - b) / 1.5), *jax.device_get(ends))
    for slope, same in jax.tree.leaves(slopes, is_leaf=lambda node: isinstance(node, tuple)):
        np.testing.assert_allclose(slope, same, atol=1e-4)
    assert np.any(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(slopes)]) != 0)


def test_an_optax_schedule_is_followed_step_by_step(tiny):
    """SGD with rates 0.1, 0.1, 0, 0: the first step is -0.1 grad, the last two move nothing."""
    schedule = optax.piecewise_constant_schedule(0.1, {2: 0.0})
    plain = tiny._replace(optimizer=optax.sgd(schedule))
    state, x = init_state(plain), tiny.data[:8]
    states = [state]
    for _ in range(4):
        states.append(train_step(states[-1], RNG, x, 1.0)[0])
    start, first, second, third, fourth = (jax.device_get(state.params) for state in states)
    grads = jax.jit(jax.grad(lambda params: tiny.loss_fn(params, RNG, x, 1.0)[0]))(start)
    wanted = jax.tree.map(lambda p, g: p - 0.1 * np.asarray(g), start, grads)
    chex.assert_trees_all_close(first, wanted, rtol=1e-5, atol=1e-6)
    assert any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), first, second)))
    chex.assert_trees_all_equal(second, third, fourth)


def test_raw_array_networks_train_in_the_same_program():
    """Networks of the user's own need no library: the loss falls by more than its noise."""
    vae = vae_jax.build_vae(
        affine_encoder(2),
        affine(2),
        likelihood=vae_jax.normal(std=0.2),
        prior=vae_jax.standard_normal(2),
        data_shape=(2,),
    )
    state = vae_jax.init_train_state(
        jax.random.key(0), vae.init, vae_jax.make_elbo(vae), optax.adam(0.05)
    )
    _, metrics = train_scan(
        state, RNG, None, 1.0, batch_fn=vae_jax.swiss_roll_batches(16), num_steps=200
    )
    losses = np.asarray(metrics["loss"])
    assert losses[-20:].mean() + 4 * losses[-20:].std() < losses[:20].mean()


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"num_steps": 2.0}, {"unroll": 0}])
def test_lengths_must_be_counts(tiny, options):
    """num_steps and unroll are whole numbers of at least 1."""
    arguments = {"batch_fn": tiny.batch_fn, "num_steps": 2, **options}
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        train_scan(init_state(tiny), RNG, tiny.data, 1.0, **arguments)


def test_the_state_is_a_frozen_pytree(tiny):
    """A TrainState cannot be changed in place, and maps leaf by leaf."""
    state = init_state(tiny)
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.step = 3
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert jax.tree.map(lambda leaf: leaf, state).loss_fn is state.loss_fn
