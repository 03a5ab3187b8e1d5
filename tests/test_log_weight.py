"""log_weight = log p(x, z) - log q(z | x) against the evidence log p(x) that it estimates."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_mean, draws, init, tiny_vae
from scipy import integrate, special, stats

import vae_jax
from vae_jax.draws import log_prior

X = np.float32([0.6, -0.4, 0.1])


def exact_linear_vae(std=0.3):
    """A linear VAE whose columns of W are orthogonal, with its exact posterior, in float64.

    p(x | z) = N(W z + b, std^2 I). With W^T W diagonal the posterior is too:
    variance (W^T W / std^2 + 1)^-1, mean = variance W^T (x - b) / std^2.
    """
    rng = np.random.default_rng(0)
    weights = np.linalg.qr(rng.normal(size=(4, 2)))[0] * [2.0, 0.7]
    bias = rng.normal(size=4)
    variance = 1 / (np.diag(weights.T @ weights) / std**2 + 1)
    gain = weights * variance / std**2
    vae = vae_jax.build_vae(
        vae_jax.MLPEncoder(2, ()),
        vae_jax.MLPDecoder(4, ()),
        likelihood=vae_jax.normal(std=std),
        prior=vae_jax.standard_normal(2),
        data_shape=(4,),
    )
    encoder = {
        "kernel": np.concatenate([gain, np.zeros((4, 2))], axis=1),
        "bias": np.concatenate([-bias @ gain, np.log(variance)]),
    }
    decoder = {"kernel": weights.T, "bias": bias}
    params = {"encoder": {"layers": {"out": encoder}}, "decoder": {"layers": {"out": decoder}}}
    evidence = stats.multivariate_normal(bias, weights @ weights.T + std**2 * np.eye(4))
    return vae, params, evidence


def test_the_exact_posterior_leaves_the_log_weight_no_variance():
    """With q = p(z | x) every draw of log_weight is log N(x; b, W W^T + std^2 I)."""
    with jax.enable_x64(True):
        vae, params, evidence = exact_linear_vae()
        x = evidence.rvs(20, random_state=1)
        log_weights = draws(
            lambda rng: jax.vmap(lambda x: vae_jax.log_weight(vae, params, rng, x))(x), 50
        )
    assert log_weights.dtype == np.float64
    wanted = np.broadcast_to(evidence.logpdf(x), (50, 20))
    np.testing.assert_allclose(log_weights, wanted, rtol=1e-12)


def test_the_elbo_of_the_exact_posterior_is_the_evidence():
    """E[log p(x | z)] - KL = log p(x): the loss averaged over draws, within 4 standard errors."""
    with jax.enable_x64(True):
        vae, params, evidence = exact_linear_vae()
        x = evidence.rvs(5, random_state=1)
        loss_fn = vae_jax.make_elbo(vae)
        losses = draws(lambda rng: loss_fn(params, rng, x, 1.0)[0], 2000)
    assert_mean(-losses, evidence.logpdf(x).mean())


def test_importance_weights_estimate_the_evidence():
    """mean_K exp(log_weight) = p(x) by quadrature over a 2-D latent of a nonlinear decoder."""
    vae = tiny_vae(vae_jax.normal(std=0.5))
    params = jax.tree.map(lambda leaf: 2 * np.asarray(leaf), init(vae, 5))
    side = np.linspace(-7.0, 7.0, 201, dtype=np.float32)

    def log_joint(first, second):
        z = jnp.stack([first, second])
        return vae.likelihood.log_prob(vae.decode(params, z), X) + log_prior(vae, params, z)

    over_grid = jax.jit(jax.vmap(jax.vmap(log_joint, (None, 0)), (0, None)))
    joint = np.exp(np.asarray(over_grid(side, side), np.float64))
    evidence = integrate.simpson(integrate.simpson(joint, x=side), x=side)
    log_weights = draws(lambda rng: vae_jax.log_weight(vae, params, rng, X), 10_000)
    assert_mean(np.exp(log_weights), evidence)
    assert np.mean(log_weights) < np.log(evidence), "the ELBO is a lower bound"
    estimate = special.logsumexp(log_weights) - np.log(10_000)
    np.testing.assert_allclose(vae_jax.log_mean_exp(log_weights), estimate, rtol=1e-5)


def test_the_mean_log_weight_is_the_elbo():
    """E[log_weight] = -E[loss] at beta = 1: the sampled and the closed KL agree."""
    vae = tiny_vae()
    params = init(vae, 5)
    loss_fn = vae_jax.make_elbo(vae)

    def both(rng):
        rng_weight, rng_loss = jax.random.split(rng)
        loss, _ = loss_fn(params, rng_loss, X[None], 1.0)
        return vae_jax.log_weight(vae, params, rng_weight, X) + loss

    assert_mean(draws(both, 4000), 0.0)


def test_with_one_key_loss_and_log_weight_share_their_noise():
    """log_weight + loss = closed KL - sampled KL, both from the z of one key, exactly."""
    vae = tiny_vae()
    params, rng = init(vae, 5), jax.random.key(3)
    _, metrics = jax.jit(vae_jax.make_elbo(vae))(params, rng, X[None], 1.0)
    own_key = jax.random.split(rng, 1)[0]
    mean, logvar = jax.jit(vae.encode)(params, X)
    z = vae_jax.reparameterize(own_key, mean, logvar)
    log_q = stats.norm(mean, np.exp(logvar / 2)).logpdf(z).sum()
    log_p = stats.norm.logpdf(z).sum()
    weight = jax.jit(lambda rng: vae_jax.log_weight(vae, params, rng, X))(own_key)
    np.testing.assert_allclose(weight, metrics["recon"] + log_p - log_q, rtol=1e-5)
