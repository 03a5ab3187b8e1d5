"""A linear VAE with a learned variance is probabilistic PCA: training must reach its likelihood.

Tipping and Bishop 1999; Lucas et al., arXiv:1911.02469.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from helpers import draws
from scipy import stats
from sklearn.decomposition import PCA

import vae_jax

NUM_STEPS = 10_000


def low_rank_data():
    """x [500, 5] = W z + b + noise, with two directions of unequal strength."""
    rng = np.random.default_rng(0)
    weights = np.linalg.qr(rng.normal(size=(5, 2)))[0] * [2.0, 1.0]
    x = rng.normal(size=(500, 2)) @ weights.T + rng.normal(size=5) + 0.5 * rng.normal(size=(500, 5))
    return x.astype(np.float32)


def trained(vae, x):
    """params after full-batch Adam with a cosine schedule."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, NUM_STEPS))
    loss_fn = vae_jax.make_elbo(vae)
    state = vae_jax.init_train_state(jax.random.key(0), vae.init, loss_fn, optimizer)
    state, _ = vae_jax.train_scan(
        state,
        jax.random.key(1),
        x,
        1.0,
        batch_fn=lambda data, rng, step: data,
        num_steps=NUM_STEPS,
    )
    return jax.tree.map(np.asarray, state.params)


def test_a_trained_linear_vae_reaches_the_probabilistic_pca_likelihood():
    """log N(x; b, W W^T + s^2 I) and the ELBO equal PCA.score within 0.005 nats (+ 4 SE)."""
    x = low_rank_data()
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, ()),
        vae_jax.MLPDecoder(5, ()),
        likelihood=vae_jax.normal(),
        prior=vae_jax.standard_normal(2),
        data_shape=(5,),
    )
    params = trained(vae, x)
    corners = np.float32([[0, 0], [1, 0], [0, 1]])
    bias, *columns = np.asarray(vae_jax.decode_mean(vae, params, corners))
    weights = np.stack(columns, axis=1) - bias[:, None]
    covariance = weights @ weights.T + np.exp(params["likelihood"]) * np.eye(5)
    evidence = stats.multivariate_normal(bias, covariance).logpdf(x).mean()

    def bound(rng):
        weight = jax.vmap(lambda rng, x: vae_jax.log_weight(vae, params, rng, x))
        return jnp.mean(weight(jax.random.split(rng, len(x)), x))

    bounds = np.asarray(draws(bound, 100), np.float64)
    error = bounds.std(ddof=1) / 10
    best = PCA(n_components=2).fit(x).score(x)
    np.testing.assert_allclose(evidence, best, atol=0.005)
    np.testing.assert_allclose(bounds.mean(), best, atol=0.005 + 4 * error)
    assert error < 0.001
    assert bounds.mean() <= evidence + 4 * error, "the ELBO is a lower bound"
