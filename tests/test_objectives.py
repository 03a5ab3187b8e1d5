"""Every objective keeps the contract (params, rng, x, beta) -> (loss, metrics)."""

import chex
import jax
import numpy as np
import pytest
from helpers import init, tiny_vae
from likelihood_table import LIKELIHOODS
from tables import OBJECTIVES

VAES = {name: row.prepare(tiny_vae()) for name, row in OBJECTIVES.items()}
LOSSES = {name: row.make(VAES[name]) for name, row in OBJECTIVES.items()}
COMPILED = {name: jax.jit(loss_fn) for name, loss_fn in LOSSES.items()}

each_objective = pytest.mark.parametrize("name", OBJECTIVES)
WITH_LIKELIHOODS = [("elbo", likelihood) for likelihood in LIKELIHOODS] + [
    (name, "normal") for name, row in OBJECTIVES.items() if not row.own_gradient
]


@pytest.fixture(scope="module")
def inputs():
    """params (with a critic, which most objectives do not look at), rng, x [4, 3]"""
    return init(VAES["factor"]), jax.random.key(2), jax.random.normal(jax.random.key(1), (4, 3))


@each_objective
def test_the_loss_is_a_finite_scalar_and_heads_its_metrics(name, inputs):
    """loss_fn returns (loss [], metrics), metrics being scalars with loss, recon and kl."""
    loss, metrics = COMPILED[name](*inputs, 0.7)
    assert {"loss", "recon", "kl"} <= set(metrics)
    chex.assert_shape([loss, *metrics.values()], ())
    chex.assert_tree_all_finite(metrics)
    assert loss == metrics["loss"]


@each_objective
def test_one_trace_serves_every_beta_and_agrees_with_no_jit(name, inputs):
    """jit(loss_fn) = loss_fn, compiled once for all values of beta."""
    chex.clear_trace_counter()
    compiled = jax.jit(chex.assert_max_traces(LOSSES[name], n=1))
    for beta in (0.0, 0.3, 20.0):
        wanted = LOSSES[name](*inputs, beta)
        chex.assert_trees_all_close(compiled(*inputs, beta), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "likelihood"), WITH_LIKELIHOODS)
def test_gradients_equal_finite_differences(name, likelihood):
    """<grad, v> = (loss(p + h v) - loss(p - h v)) / 2h in float64, for every likelihood too."""
    row = LIKELIHOODS[likelihood]
    with jax.enable_x64(True):
        vae = OBJECTIVES[name].prepare(tiny_vae(row.make()))
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), init(vae))
        x, rng = np.repeat(row.good, 2, axis=0).astype(np.float64), jax.random.key(2)
        loss_fn = OBJECTIVES[name].make(vae)
        gradient = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, rng, x, 0.7)[0]))
        _, grads = gradient(params)
        chex.assert_trees_all_equal_shapes(grads, params)
        draw = np.random.default_rng(0).normal
        along = jax.tree.map(lambda leaf: draw(size=leaf.shape), params)

        def moved(distance):
            return gradient(jax.tree.map(lambda p, v: p + distance * v, params, along))[0]

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        products = jax.tree.map(lambda g, v: np.sum(g * v), grads, along)
        np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-6)


@each_objective
def test_the_key_is_the_only_randomness(name, inputs):
    """The same key gives the same loss, another key another one."""
    params, _, x = inputs
    one, same, other = (COMPILED[name](params, jax.random.key(k), x, 1.0) for k in (2, 2, 3))
    chex.assert_trees_all_equal(one, same)
    assert one[0] != other[0]


@pytest.mark.parametrize("name", [name for name, row in OBJECTIVES.items() if row.weighs_kl])
def test_beta_weighs_the_kl(name, inputs):
    """loss(beta) - loss(0) = beta * kl."""
    without, _ = COMPILED[name](*inputs, 0.0)
    loss, metrics = COMPILED[name](*inputs, 2.5)
    np.testing.assert_allclose(loss - without, 2.5 * metrics["kl"], rtol=1e-4)


@pytest.mark.parametrize("name", [name for name, row in OBJECTIVES.items() if not row.coupled])
def test_an_example_does_not_see_its_neighbours(name, inputs):
    """The loss is a mean of terms of one example: f(a, b) + f(c, d) = f(a, d) + f(c, b)."""
    params, rng, x = inputs

    def pair(i, j):
        return np.array(list(COMPILED[name](params, rng, x[np.array([i, j])], 0.7)[1].values()))

    np.testing.assert_allclose(pair(0, 1) + pair(2, 3), pair(0, 3) + pair(2, 1), rtol=1e-5)
    assert np.all(pair(0, 1) != pair(0, 3))


@each_objective
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (4, 2), (4, 3, 1), (4, 1, 3)])
def test_a_batch_of_the_wrong_shape_is_refused(name, shape, inputs):
    """x must be [B, *data_shape]; the error says what was got and what is needed."""
    params, rng, _ = inputs
    with pytest.raises(ValueError, match=r"needs \[B, 3\]") as error:
        LOSSES[name](params, rng, np.zeros(shape, np.float32), 1.0)
    assert str(shape) in str(error.value)
