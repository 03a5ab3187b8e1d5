"""The training program: one step, a run of steps, a row of runs."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import init_state, tiny_vae
from tables import affine, affine_encoder

import vae_jax
from vae_jax import train_scan, train_step

RNG = jax.random.key(5)


def scan(tiny, state, num_steps, rng=RNG, beta=0.5, unroll=1):
    return train_scan(
        state, rng, tiny.data, beta, batch_fn=tiny.batch_fn, num_steps=num_steps, unroll=unroll
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


def arrays(state):
    return state.params, state.opt_state, state.step


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


@pytest.mark.parametrize("unroll", [1, 3, 4])
def test_two_runs_are_one_longer_run_bit_for_bit(tiny, unroll):
    """7 + 6 steps = 13 steps, whatever the lengths and the unrolling: every bit of state."""
    whole, metrics = scan(tiny, init_state(tiny), 13)
    first, before = scan(tiny, init_state(tiny), 7, unroll=unroll)
    second, after = scan(tiny, first, 6, unroll=unroll)
    chex.assert_trees_all_equal(arrays(second), arrays(whole))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), before, after)
    chex.assert_trees_all_equal(joined, jax.tree.map(np.asarray, metrics))


def test_the_key_decides_everything(tiny):
    """The same key gives the same run, another key another one; the state stores no key."""
    state = init_state(tiny)
    runs = [scan(tiny, state, 13, rng=jax.random.key(seed))[1]["loss"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.all(np.asarray(runs[0]) != np.asarray(runs[2]))
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
    counted = tiny._replace(loss_fn=chex.assert_max_traces(tiny.loss_fn, n=1))
    state = init_state(counted)
    before = jax.tree.map(np.array, arrays(state))
    ends = [train_step(state, RNG, tiny.data[:8], beta)[0] for beta in (0.0, 0.5, 2.0)]
    chex.assert_trees_all_equal(arrays(state), before)
    leaves = [np.asarray(jax.tree.leaves(end.params)[0]) for end in ends]
    assert not np.array_equal(leaves[0], leaves[2])


def test_vmapped_steps_are_single_steps(tiny):
    """vmap(train_step, in_axes=(0, 0, None, 0)) trains R replicas as one by one."""
    rngs, betas = jax.random.split(RNG, 3), np.float32([0.0, 1.0, 3.0])
    states = jax.vmap(lambda rng: init_fn(tiny, rng))(rngs)
    x = tiny.data[:8]
    ends, metrics = jax.vmap(train_step, in_axes=(0, 0, None, 0))(states, rngs, x, betas)
    for r in range(3):
        state = jax.tree.map(lambda leaf, r=r: leaf[r], states)
        end, single = train_step(state, rngs[r], x, betas[r])
        mine = jax.tree.map(lambda leaf, r=r: leaf[r], (ends, metrics))
        chex.assert_trees_all_close(arrays(mine[0]), arrays(end), rtol=1e-4, atol=1e-6)
        chex.assert_trees_all_close(mine[1], single, rtol=1e-5)


def test_replicated_runs_are_single_runs(tiny):
    """replicate(train_scan): replica r is the run of its own seed, key and beta."""
    rngs, betas = jax.random.split(RNG, 2), np.float32([0.5, 2.0])
    states = jax.vmap(lambda rng: init_fn(tiny, rng))(rngs)
    run = vae_jax.replicate(train_scan)
    ends, metrics = run(
        states, rngs, tiny.data, betas, batch_fn=tiny.batch_fn, num_steps=20, unroll=1
    )
    assert metrics["loss"].shape == (2, 20)
    for r in range(2):
        state = jax.tree.map(lambda leaf, r=r: leaf[r], states)
        end, single = scan(tiny, state, 20, rng=rngs[r], beta=betas[r])
        mine = jax.tree.map(lambda leaf, r=r: leaf[r], (ends, metrics))
        chex.assert_trees_all_close(arrays(mine[0]), arrays(end), rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(mine[1], single, rtol=1e-4, atol=1e-5)


def init_fn(tiny, rng):
    return vae_jax.init_train_state(rng, tiny.vae.init, tiny.loss_fn, tiny.optimizer)


def test_replicate_takes_a_single_step_too(tiny):
    """replicate(train_step) gives metrics [R]."""
    rngs, betas = jax.random.split(RNG, 3), np.float32([0.0, 1.0, 3.0])
    states = jax.vmap(lambda rng: init_fn(tiny, rng))(rngs)
    ends, metrics = vae_jax.replicate(train_step)(states, rngs, tiny.data[:8], betas)
    assert metrics["loss"].shape == (3,)
    np.testing.assert_array_equal(ends.step, [1, 1, 1])


def test_an_optax_schedule_is_followed_step_by_step(tiny):
    """SGD with rate(t) = 0.1, 0.1, 0, 0, ...: the first step is -0.1 grad, the third moves nothing."""
    schedule = optax.piecewise_constant_schedule(0.1, {2: 0.0})
    plain = tiny._replace(optimizer=optax.sgd(schedule))
    state, x = init_state(plain), tiny.data[:8]
    grads = jax.jit(jax.grad(lambda params: tiny.loss_fn(params, RNG, x, 1.0)[0]))(state.params)
    wanted = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, grads)
    states = [state]
    for _ in range(4):
        states.append(train_step(states[-1], RNG, x, 1.0)[0])
    chex.assert_trees_all_close(states[1].params, wanted, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(*[jax.tree.leaves(s.params)[0] for s in states[1:3]])
    chex.assert_trees_all_equal(states[2].params, states[4].params)


def test_raw_array_networks_train_in_the_same_program():
    """Networks of the user's own need no library: the loss goes down by more than its noise."""
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
        state, RNG, None, 1.0, batch_fn=vae_jax.swiss_roll_batches(16), num_steps=200, unroll=1
    )
    first, last = np.split(np.asarray(metrics["loss"]), [20])[0], np.asarray(metrics["loss"])[-20:]
    assert last.mean() + 4 * last.std() < first.mean()


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
    same = jax.tree.map(lambda leaf: leaf, state)
    assert same.loss_fn is state.loss_fn
    assert tiny_vae().init is not tiny.vae.init
