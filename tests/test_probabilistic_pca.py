"""A linear VAE with a learned variance is probabilistic PCA: training must reach its likelihood.

Tipping and Bishop 1999; Lucas et al., arXiv:1911.02469.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats
from sklearn.decomposition import PCA

import vae_jax


def low_rank_data():
    """x [500, 5] = W z + b + noise with two strong directions of unequal strength."""
    rng = np.random.default_rng(0)
    weights = np.linalg.qr(rng.normal(size=(5, 2)))[0] * [1.5, 0.8]
    x = rng.normal(size=(500, 2)) @ weights.T + rng.normal(size=5) + 0.3 * rng.normal(size=(500, 5))
    return x.astype(np.float32)


def test_a_trained_linear_vae_reaches_the_probabilistic_pca_likelihood():
    """log N(x; b, W W^T + s^2 I) and the ELBO are PCA.score within 0.01 nats."""
    x = low_rank_data()
    best = PCA(n_components=2).fit(x).score(x)
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, ()),
        vae_jax.MLPDecoder(5, ()),
        likelihood=vae_jax.normal(),
        prior=vae_jax.standard_normal(2),
        data_shape=(5,),
    )
    num_steps = 4000
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, num_steps))
    state = vae_jax.init_train_state(jax.random.key(0), vae.init, vae_jax.make_elbo(vae), optimizer)
    state, _ = vae_jax.train_scan(
        state,
        jax.random.key(1),
        x,
        1.0,
        batch_fn=vae_jax.array_batches(250),
        num_steps=num_steps,
    )
    decoder, logvar = state.params["decoder"]["out"], state.params["likelihood"][0]
    covariance = decoder["kernel"].T @ decoder["kernel"] + np.exp(logvar) * np.eye(5)
    evidence = stats.multivariate_normal(decoder["bias"], covariance).logpdf(x).mean()

    rngs = jax.random.split(jax.random.key(2), 100)

    def mean_log_weight(rng):
        rngs = jax.random.split(rng, len(x))
        weight = jax.vmap(vae_jax.log_weight, (None, None, 0, 0))
        return jnp.mean(weight(vae, state.params, rngs, x))

    draws = np.asarray(jax.lax.map(mean_log_weight, rngs), np.float64)
    bound, error = draws.mean(), draws.std(ddof=1) / 10
    print(f"best {best:.5f} evidence {evidence:.5f} elbo {bound:.5f} +- {error:.5f}")
    np.testing.assert_allclose(evidence, best, atol=0.01)
    np.testing.assert_allclose(bound, best, atol=0.01 + 4 * error)
    assert bound <= evidence + 4 * error
