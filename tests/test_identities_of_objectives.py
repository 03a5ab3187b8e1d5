"""The identity that ties each objective to the ELBO."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_mean, draws, init, tiny_vae
from scipy import special

import vae_jax
from vae_jax.objectives.mmd import mmd
from vae_jax.objectives.tcvae import log_shares

VAE = vae_jax.add_critic(tiny_vae(), (4,))
PARAMS = init(VAE, 5)
X = np.asarray(jax.random.normal(jax.random.key(1), (4, 3)))
RNG = jax.random.key(2)
ELBO = vae_jax.make_elbo(VAE)


def value(loss_fn, beta=1.0, vae_params=PARAMS, x=X):
    return jax.jit(loss_fn)(vae_params, RNG, x, beta)


def gradient(loss_fn, params=PARAMS, beta=1.0, rng=RNG):
    return jax.jit(jax.grad(lambda p: loss_fn(p, rng, X, beta)[0]))(params)


@functools.cache
def value_and_gradient(loss_fn, beta=1.0):
    return jax.jit(jax.value_and_grad(lambda p: loss_fn(p, RNG, X, beta)[0]))(PARAMS)


def log_weights(num_samples, beta=1.0):
    """[B, K], the draws that the importance-weighted objectives make."""

    def one(rng, x):
        rngs = jax.random.split(rng, num_samples)
        draw = jax.vmap(lambda rng: vae_jax.draw(VAE, PARAMS, rng, x))(rngs)
        return draw.log_lik + beta * (draw.log_prior - draw.log_q)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(RNG, len(X)), X), np.float64)


def bound(log_w):
    """mean_B log mean_K w."""
    return np.mean(special.logsumexp(log_w, axis=1) - np.log(log_w.shape[1]))


@pytest.mark.parametrize("beta", [0.4, 1.0])
@pytest.mark.parametrize("estimator", ["plain", "stl", "dreg"])
def test_iwae_is_the_log_of_the_mean_weight(estimator, beta):
    """loss = -mean_B log mean_K w for every estimator; bound is that at beta = 1."""
    loss, metrics = value(vae_jax.make_iwae(VAE, 5, estimator), beta)
    np.testing.assert_allclose(loss, -bound(log_weights(5, beta)), rtol=1e-5)
    np.testing.assert_allclose(metrics["bound"], bound(log_weights(5)), rtol=1e-5)


def test_iwae_of_one_sample_is_the_elbo_with_a_sampled_kl():
    """K = 1: loss = -mean log w, and recon - kl is the bound."""
    loss, metrics = value(vae_jax.make_iwae(VAE, 1))
    np.testing.assert_allclose(loss, -log_weights(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["recon"] - metrics["kl"], metrics["bound"], rtol=1e-5)


def test_miwae_ciwae_and_piwae_meet_iwae_and_the_elbo():
    """MIWAE(1,K) = IWAE(K); MIWAE(M,1) = ELBO over M; CIWAE(1) = ELBO over K, CIWAE(0) = IWAE;
    PIWAE(1,K) = IWAE(K): losses and gradients."""
    iwae = vae_jax.make_iwae(VAE, 6)
    same = [
        (vae_jax.make_miwae(VAE, 1, 6), iwae),
        (vae_jax.make_ciwae(VAE, 6, 0.0), iwae),
        (vae_jax.make_ciwae(VAE, 6, 1.0), vae_jax.make_miwae(VAE, 6, 1)),
        (vae_jax.make_piwae(VAE, 1, 6), iwae),
    ]
    for pair in same:
        (first, one), (second, other) = (value_and_gradient(loss_fn) for loss_fn in pair)
        np.testing.assert_allclose(first, second, rtol=1e-5)
        chex.assert_trees_all_close(one, other, rtol=1e-3, atol=1e-5)
    log_w = log_weights(6)
    np.testing.assert_allclose(value(vae_jax.make_miwae(VAE, 6, 1))[0], -log_w.mean(), rtol=1e-5)
    groups = log_w.reshape(4, 2, 3)
    means = special.logsumexp(groups, axis=2) - np.log(3)
    np.testing.assert_allclose(value(vae_jax.make_miwae(VAE, 2, 3))[0], -means.mean(), rtol=1e-5)
    mixed = 0.3 * log_w.mean() + 0.7 * bound(log_w)
    np.testing.assert_allclose(value(vae_jax.make_ciwae(VAE, 6, 0.3))[0], -mixed, rtol=1e-5)


def test_piwae_gives_encoder_and_decoder_their_own_bounds():
    """The decoder's gradient is IWAE(M K)'s, the encoder's MIWAE(M, K)'s, from the same draws."""
    found = gradient(vae_jax.make_piwae(VAE, 2, 3))
    decoder, encoder = (
        gradient(vae_jax.make_iwae(VAE, 6))["decoder"],
        gradient(vae_jax.make_miwae(VAE, 2, 3))["encoder"],
    )
    chex.assert_trees_all_close(found["decoder"], decoder, rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(found["encoder"], encoder, rtol=1e-3, atol=1e-5)


def test_the_bound_rises_with_the_samples():
    """E[IWAE(K)] is non-decreasing in K: each step up by more than the errors, here."""

    def bounds(rng):
        return jnp.stack(
            [vae_jax.make_iwae(VAE, k)(PARAMS, rng, X, 1.0)[1]["bound"] for k in (1, 4, 16)]
        )

    found = np.asarray(draws(bounds, 500))
    error = found.std(axis=0) / 500**0.5
    assert np.all(np.diff(found.mean(axis=0)) > 4 * error[1:])


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_estimators_without_the_score_have_no_variance_at_the_exact_posterior(estimator):
    """q = p(z | x): the encoder's gradient is 0 for every draw; the plain estimator's is not."""
    with jax.enable_x64(True):
        bed = vae_jax.linear_gaussian(jax.random.key(0))
        x = bed.sample(jax.random.key(1), 3)

        def encoder_gradients(gradient):
            loss_fn = vae_jax.make_iwae(bed.vae, 4, gradient)
            slope = jax.grad(lambda p, rng: loss_fn(p, rng, x, 1.0)[0])
            return draws(lambda rng: slope(bed.params, rng)["encoder"], 20)

        for leaf in jax.tree.leaves(encoder_gradients(estimator)):
            np.testing.assert_allclose(leaf, 0.0, atol=1e-9)
        assert max(np.std(leaf) for leaf in jax.tree.leaves(encoder_gradients("plain"))) > 0.01


@pytest.mark.parametrize(("num_samples", "estimator"), [(1, "stl"), (1, "dreg"), (3, "dreg")])
def test_estimators_without_the_score_are_unbiased(num_samples, estimator):
    """E[gradient] equals the plain estimator's within 4 standard errors, parameter by parameter.

    (stl is biased for more than one sample, as its source says.)
    """

    def difference(rng):
        one, other = (
            jax.grad(lambda p, k=kind: vae_jax.make_iwae(VAE, num_samples, k)(p, rng, X, 1.0)[0])(
                PARAMS
            )
            for kind in ("plain", estimator)
        )
        flat = [
            jnp.ravel(a - b)[:3]
            for part in ("encoder", "decoder")
            for a, b in zip(jax.tree.leaves(one[part]), jax.tree.leaves(other[part]), strict=True)
        ]
        return jnp.concatenate(flat)

    found = np.asarray(draws(difference, 3000), np.float64)
    error = found.std(axis=0) / 3000**0.5
    vary = error > 1e-7
    assert vary.sum() >= 10
    assert np.all(np.abs(found.mean(axis=0)) <= 4.5 * error + 1e-6)


def test_free_bits_hold_small_kls_up():
    """loss = beta sum_j max(free, mean_B KL_j) - recon: at 0 the ELBO, at a large value flat."""
    kls = np.asarray(vae_jax.kl_per_dim(VAE, PARAMS, X))
    free = float(kls.mean())
    loss, metrics = value(vae_jax.make_elbo(VAE, free), 0.7)
    wanted = 0.7 * np.maximum(kls, free).sum() - metrics["recon"]
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kls.sum(), rtol=1e-5)
    with pytest.raises(ValueError, match="KL by dimension"):
        vae_jax.make_elbo(tiny_vae(prior=vae_jax.vamp_prior(2, 3)), 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        vae_jax.make_elbo(VAE, -1.0)


def test_capacity_pulls_the_kl_from_either_side():
    """loss = beta |kl - C| - recon; below the KL it is the beta-VAE's less beta C."""
    kl = float(value(ELBO)[1]["kl"])
    elbo_loss, _ = value(ELBO, 3.0)
    loss, _ = value(vae_jax.make_capacity(VAE, kl / 2), 3.0)
    np.testing.assert_allclose(loss, elbo_loss - 3.0 * kl / 2, rtol=1e-5)
    loss, metrics = value(vae_jax.make_capacity(VAE, 2 * kl), 3.0)
    np.testing.assert_allclose(loss, 3.0 * kl - metrics["recon"], rtol=1e-5)
    with pytest.raises(ValueError, match="above 0"):
        vae_jax.make_capacity(VAE, 0.0)


@pytest.mark.parametrize("estimator", ["stratified", "weighted"])
def test_the_tcvae_telescopes_to_the_one_sample_elbo(estimator):
    """alpha = beta = gamma = 1: loss = log q - log p(z) - log p(x | z), whatever estimates q(z)."""
    loss, metrics = value(vae_jax.make_tcvae(VAE, 100, estimator))
    batch = jax.vmap(lambda rng, x: vae_jax.log_weight(VAE, PARAMS, rng, x))
    wanted = -np.mean(batch(jax.random.split(RNG, 4), X))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    more, _ = value(vae_jax.make_tcvae(VAE, 100, estimator), 3.0)
    np.testing.assert_allclose(more - loss, 2.0 * metrics["total_correlation"], atol=2e-5)


def test_the_tcvaes_estimates_of_the_aggregate_posterior():
    """With the whole data as batch, stratified shares are 1/N each, and every row sums to 1;
    weighted ones are 1/(B N)."""
    np.testing.assert_allclose(np.exp(log_shares(5, 5, "stratified")), 0.2, rtol=1e-6)
    shares = np.exp(log_shares(4, 100, "stratified"))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.diag(shares), 0.01, rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_shares(4, 100, "weighted")), 1 / 400, rtol=1e-6)


def test_batches_too_small_to_compare_are_refused():
    """tcvae, infovae, wae, dip and factor need two rows; tcvae at most num_rows."""
    makers = [
        vae_jax.make_tcvae(VAE, 100), vae_jax.make_infovae(VAE), vae_jax.make_wae(VAE),
        vae_jax.make_dip(VAE), vae_jax.make_factor(VAE),
    ]  # fmt: skip
    for loss_fn in makers:
        with pytest.raises(ValueError, match="2 "):
            loss_fn(PARAMS, RNG, X[:1], 1.0)
    with pytest.raises(ValueError, match="num_rows=3"):
        vae_jax.make_tcvae(VAE, 3)(PARAMS, RNG, X, 1.0)


def test_infovae_and_dip_and_factor_contain_the_elbo():
    """InfoVAE(0, 1), DIP(0, 0) and Factor(0) have the ELBO's loss and its VAE's gradient."""
    wanted, slope = value_and_gradient(ELBO, 0.7)
    for loss_fn in (
        vae_jax.make_infovae(VAE, 0.0, 1.0),
        vae_jax.make_dip(VAE, 0.0, 0.0),
        vae_jax.make_factor(VAE, 0.0),
    ):
        loss, found = value_and_gradient(loss_fn, 0.7)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)
        for part in ("encoder", "decoder", "likelihood"):
            chex.assert_trees_all_close(found[part], slope[part], rtol=1e-4, atol=1e-6)


def test_wae_has_no_kl():
    """loss = beta lam MMD - recon; at beta = 0 the ELBO's at beta = 0."""
    np.testing.assert_allclose(value(vae_jax.make_wae(VAE), 0.0)[0], value(ELBO, 0.0)[0], rtol=1e-5)
    loss, metrics = value(vae_jax.make_wae(VAE, 4.0), 0.5)
    np.testing.assert_allclose(loss, 2.0 * metrics["mmd"] - metrics["recon"], rtol=1e-5)


def test_the_mmd_is_unbiased_and_sees_a_shift():
    """Of two samples of one distribution its mean is 0; of shifted ones it is above."""

    def same(rng):
        a, b = jax.random.normal(rng, (2, 8, 3))
        return mmd(a, b)

    assert_mean(draws(same, 2000), 0.0)
    moves = jnp.arange(2.0)[:, None, None]
    shifted = draws(lambda rng: mmd(*(jax.random.normal(rng, (2, 8, 3)) + moves)), 200)
    assert np.mean(shifted) > 0.5


def test_dips_penalty_is_the_distance_of_the_covariance_from_one():
    """off sum_{i != j} C_ij^2 + diag sum_i (C_ii - 1)^2 with C of the means, or of z."""
    mean, logvar = (np.asarray(a) for a in vae_jax.posterior(VAE, PARAMS, X))
    covariance = np.cov(mean.T, bias=True)
    for within in (False, True):
        full = covariance + within * np.diag(np.exp(logvar).mean(axis=0))
        off = full - np.diag(np.diag(full))
        wanted = 3 * np.sum(off**2) + 2 * np.sum((np.diag(full) - 1) ** 2)
        _, metrics = value(vae_jax.make_dip(VAE, 3.0, 2.0, within=within))
        np.testing.assert_allclose(metrics["penalty"], wanted, rtol=1e-4)


def test_the_factor_critic_learns_beside_the_vae():
    """The critic's gradient is its own loss's; gamma's term reaches the encoder, not the critic."""
    plain, strong = (gradient(vae_jax.make_factor(VAE, g)) for g in (0.0, 50.0))
    chex.assert_trees_all_close(plain["critic"], strong["critic"], rtol=1e-4, atol=1e-6)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain["critic"])) > 1e-4
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), plain["encoder"], strong["encoder"])
    assert max(jax.tree.leaves(moved)) > 1e-4
    chex.assert_trees_all_close(plain["decoder"], strong["decoder"], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="add_critic"):
        vae_jax.make_factor(tiny_vae())(init(tiny_vae()), RNG, X, 1.0)


def vq_vae():
    return tiny_vae(prior=vae_jax.codebook(2, 3, 2))


def test_vq_decodes_the_nearest_codes():
    """recon = log p(x | nearest code), kl = G log C, loss = codes (1 + beta commitment) - recon."""
    vae = vq_vae()
    params = init(vae, 5)
    loss, metrics = value(vae_jax.make_vq(vae, 0.25), 2.0, params)
    mean, _ = vae_jax.posterior(vae, params, X)
    nearest = np.asarray(vae_jax.codes(vae, params, X))
    table = np.asarray(params["prior"]["codes"])[:, :, 0]
    wanted = [[table[g][np.abs(table[g] - m[g]).argmin()] for g in range(2)] for m in mean]
    np.testing.assert_allclose(nearest, wanted, rtol=1e-6)
    decode = jax.vmap(lambda z, x: vae.likelihood.log_prob(vae.decode(params, z), x))
    recon = decode(nearest, X)
    np.testing.assert_allclose(metrics["recon"], np.mean(recon), rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], 2 * np.log(3), rtol=1e-6)
    distance = np.sum((np.asarray(mean) - nearest) ** 2, axis=1).mean()
    np.testing.assert_allclose(loss, 1.5 * distance - metrics["recon"], rtol=1e-5)


def test_vqs_gradient_is_straight_through():
    """The encoder gets d recon / d z_q plus commitment; codes get their distance alone."""
    vae = vq_vae()
    params = init(vae, 5)
    found = gradient(vae_jax.make_vq(vae, 0.25), params, 2.0)
    nearest = vae_jax.codes(vae, params, X)

    def written_out(p, x, z_q):
        mean, _ = vae.encode(p, x)
        slope = jax.grad(lambda z: -vae.likelihood.log_prob(vae.decode(params, z), x))(z_q)
        return jnp.dot(slope, mean) + 0.5 * jnp.sum(jnp.square(mean - z_q))

    batch = jax.vmap(written_out, (None, 0, 0))
    wanted = jax.grad(lambda p: jnp.mean(batch(p, X, nearest)))(params)
    chex.assert_trees_all_close(found["encoder"], wanted["encoder"], rtol=1e-4, atol=1e-6)
    means, _ = vae_jax.posterior(vae, params, X)

    def to_codes(codes):
        z_q = jax.vmap(lambda m: vae.prior.quantize({"codes": codes}, m))(means)
        return jnp.mean(jnp.sum(jnp.square(means - z_q), axis=1))

    slope = jax.grad(to_codes)(params["prior"]["codes"])
    np.testing.assert_allclose(found["prior"]["codes"], slope, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="codebook"):
        vae_jax.make_vq(tiny_vae())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: vae_jax.make_iwae(VAE, 0), "num_samples"),
        (lambda: vae_jax.make_iwae(VAE, 5, "score"), "plain"),
        (lambda: vae_jax.make_miwae(VAE, 0, 2), "num_groups"),
        (lambda: vae_jax.make_piwae(VAE, 2, 0), "num_samples"),
        (lambda: vae_jax.make_ciwae(VAE, 5, 1.5), "mix"),
        (lambda: vae_jax.make_tcvae(VAE, 1), "num_rows"),
        (lambda: vae_jax.make_tcvae(VAE, 9, "exact"), "estimator"),
        (
            lambda: vae_jax.make_tcvae(tiny_vae(posterior=vae_jax.coupling_flow()), 9),
            "diagonal_normal",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    """At build time, with what is allowed."""
    with pytest.raises(ValueError, match=words):
        make()
