"""Every objective keeps the contract (params, rng, x, beta) -> (loss, metrics)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_vae
from tables import COUPLED, LIKELIHOODS, OBJECTIVES

VAE = tiny_vae()
PARAMS = VAE.init(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (4, 3))
RNG = jax.random.key(2)

each_objective = pytest.mark.parametrize("name", OBJECTIVES)
each_likelihood = pytest.mark.parametrize("row", LIKELIHOODS.values(), ids=LIKELIHOODS)


@each_objective
def test_the_loss_is_a_finite_scalar_and_heads_its_metrics(name):
    """loss_fn returns (loss [], metrics), metrics being scalars with loss, recon and kl."""
    loss, metrics = OBJECTIVES[name](VAE)(PARAMS, RNG, X, 0.7)
    assert {"loss", "recon", "kl"} <= set(metrics)
    chex.assert_shape([loss, *metrics.values()], ())
    chex.assert_tree_all_finite(metrics)
    assert loss == metrics["loss"]


@each_objective
def test_one_trace_serves_every_beta_and_agrees_with_no_jit(name):
    """jit(loss_fn) = loss_fn, compiled once for all values of beta."""
    loss_fn = OBJECTIVES[name](VAE)
    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(loss_fn, n=1))
    for beta in (0.0, 0.3, 1.0, 20.0):
        found, wanted = compiled(PARAMS, RNG, X, beta), loss_fn(PARAMS, RNG, X, beta)
        chex.assert_trees_all_close(found, wanted, rtol=1e-5)


@each_objective
@each_likelihood
def test_gradients_equal_finite_differences(name, row):
    """<grad, v> = (loss(p + h v) - loss(p - h v)) / 2h in float64, for every likelihood."""
    with jax.enable_x64(True):
        vae = tiny_vae(row.make())
        loss_fn = OBJECTIVES[name](vae)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), vae.init(RNG))
        x = jnp.asarray(np.repeat(row.good, 2, axis=0), jnp.float64)
        gradient = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, RNG, x, 0.7)[0]))
        _, grads = gradient(params)
        chex.assert_trees_all_equal_shapes(grads, params)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(3), len(leaves))
        along = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        along = jax.tree.unflatten(structure, along)

        def moved(distance):
            return gradient(jax.tree.map(lambda p, v: p + distance * v, params, along))[0]

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        products = jax.tree.map(lambda g, v: jnp.sum(g * v), grads, along)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


@each_objective
def test_the_key_is_the_only_randomness(name):
    """The same key gives the same loss, another key another one."""
    loss_fn = OBJECTIVES[name](VAE)
    again, other = jax.random.key(2), jax.random.key(3)
    chex.assert_trees_all_equal(loss_fn(PARAMS, RNG, X, 1.0), loss_fn(PARAMS, again, X, 1.0))
    assert loss_fn(PARAMS, RNG, X, 1.0)[0] != loss_fn(PARAMS, other, X, 1.0)[0]


@each_objective
def test_beta_weighs_the_kl(name):
    """loss(beta) - loss(0) = beta * kl."""
    loss_fn = OBJECTIVES[name](VAE)
    without, _ = loss_fn(PARAMS, RNG, X, 0.0)
    loss, metrics = loss_fn(PARAMS, RNG, X, 2.5)
    np.testing.assert_allclose(loss - without, 2.5 * metrics["kl"], rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - COUPLED))
def test_an_example_does_not_see_its_neighbours(name):
    """The loss is a mean of terms of one example: f(a, b) + f(c, d) = f(a, d) + f(c, b)."""
    loss_fn = OBJECTIVES[name](VAE)

    def pair(i, j):
        return loss_fn(PARAMS, RNG, X[jnp.array([i, j])], 0.7)[1]

    straight = jax.tree.map(jnp.add, pair(0, 1), pair(2, 3))
    crossed = jax.tree.map(jnp.add, pair(0, 3), pair(2, 1))
    chex.assert_trees_all_close(straight, crossed, rtol=1e-5)
    assert pair(0, 1)["loss"] != pair(0, 3)["loss"]


@each_objective
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (4, 2), (4, 3, 1), (4, 1, 3)])
def test_a_batch_of_the_wrong_shape_is_refused(name, shape):
    """x must be [B, *data_shape]; the error says what was got and what is needed."""
    with pytest.raises(ValueError, match=r"needs \[B, 3\]") as error:
        OBJECTIVES[name](VAE)(PARAMS, RNG, jnp.zeros(shape), 1.0)
    assert str(shape) in str(error.value)
