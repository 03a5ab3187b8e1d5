"""Posteriors: invertible maps of the encoder's Gaussian, whose density is theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import init, tiny_vae
from scipy import integrate
from tables import POSTERIORS

import vae_jax
from vae_jax.draws import log_posterior, transform

each = pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS)
CONTEXT = np.float32([0.3, -0.2, -1.0, 0.5])


def params_of(posterior, latent_dim=2):
    """Parameters away from their start."""
    if posterior.init is None:
        return None
    params = posterior.init(jax.random.key(0), latent_dim)
    leaves, tree = jax.tree.flatten(params)
    rngs = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.7 * jax.random.normal(rng, leaf.shape)
        for leaf, rng in zip(leaves, rngs, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


@each
@pytest.mark.parametrize("latent_dim", [2, 5])
def test_the_inverse_undoes_the_map_and_both_know_the_volume(make, latent_dim):
    """inverse(forward(z)) = z, log-dets of opposite sign, equal to log |det dz'/dz|."""
    posterior = make()
    params, z = params_of(posterior, latent_dim), np.linspace(-1, 2, latent_dim, dtype=np.float32)
    context = np.linspace(1, -1, 2 * latent_dim, dtype=np.float32)
    there, log_det = posterior.forward(params, z, context)
    back, log_det_back = posterior.inverse(params, there, context)
    np.testing.assert_allclose(back, z, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-4, atol=1e-5)
    jacobian = jax.jacobian(lambda z: posterior.forward(params, z, context)[0])(z)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, rtol=1e-4, atol=1e-5)


@each
def test_the_posteriors_density_is_normalised(make):
    """The integral of q(z | x) over a grid of z is 1."""
    vae = tiny_vae(posterior=make())
    params = init(vae)
    if vae.posterior.init is not None:
        params["posterior"] = jax.tree.map(lambda leaf: 0.3 * leaf, params_of(vae.posterior))
    side = np.linspace(-9, 9, 301, dtype=np.float32)
    gaussian = (CONTEXT[:2], CONTEXT[2:])

    def at(first, second):
        return log_posterior(vae, params, gaussian, jnp.stack([first, second]))

    log_q = jax.jit(jax.vmap(jax.vmap(at, (None, 0)), (0, None)))(side, side)
    total = integrate.simpson(integrate.simpson(np.exp(np.asarray(log_q, float)), x=side), x=side)
    np.testing.assert_allclose(total, 1.0, atol=2e-3)
    start = np.float32([0.5, -0.5])
    z, at_draw = transform(vae, params, start, gaussian)
    np.testing.assert_allclose(log_posterior(vae, params, gaussian, z), at_draw, rtol=1e-4)


def test_an_untrained_flow_is_the_plain_vae():
    """coupling_flow starts as the identity: the loss is that of a VAE without it, exactly."""
    x, rng = np.float32([[0.6, -0.4, 0.1], [0.0, 1.0, 2.0]]), jax.random.key(2)
    losses = []
    for posterior in (vae_jax.diagonal_normal(), vae_jax.coupling_flow(3, (5,))):
        vae = tiny_vae(posterior=posterior)
        losses.append(vae_jax.make_iwae(vae, 3)(init(vae), rng, x, 1.0)[0])
    assert losses[0] == losses[1]


def test_a_flow_bends_the_posterior_to_a_better_bound():
    """On a banana-shaped posterior the trained flow's bound beats the Gaussian's by 0.1 nats."""

    def bent(params, z):
        return jnp.stack([z[0], z[1] + z[0] ** 2])

    encoder = vae_jax.Network(
        lambda rng, x: {"mean": jnp.zeros(2), "logvar": jnp.zeros(2)},
        lambda params, x: (params["mean"] + 0 * x[:2], params["logvar"]),
    )
    x = np.zeros((32, 2), np.float32)
    bounds = []
    for posterior in (vae_jax.diagonal_normal(), vae_jax.coupling_flow(4, (16,))):
        vae = vae_jax.build_vae(
            encoder, vae_jax.Network(lambda rng, z: {}, bent), likelihood=vae_jax.normal(std=0.1),
            prior=vae_jax.standard_normal(2), data_shape=(2,), posterior=posterior,
        )  # fmt: skip
        loss_fn = vae_jax.make_elbo(vae)
        state = vae_jax.init_train_state(jax.random.key(0), vae.init, loss_fn, optax.adam(1e-2))
        state, metrics = vae_jax.train_scan(
            state, jax.random.key(1), x, 1.0, batch_fn=lambda data, rng, step: data, num_steps=800
        )
        bounds.append(np.asarray(metrics["bound"])[-200:].mean())
    exact = np.asarray(vae_jax.quadrature(vae, state.params, x[:1], extent=5.0, num_points=801))[0]
    assert bounds[1] > bounds[0] + 0.1
    assert bounds[1] < exact + 0.02


def test_texts_and_bad_sizes():
    """from_text round trip; a flow needs two latent dimensions; sizes are counts."""
    for make in POSTERIORS.values():
        assert vae_jax.from_text(make().text).text == vae_jax.to_text(make()) == make().text
    with pytest.raises(ValueError, match="two latent dimensions"):
        tiny_vae(
            encoder=vae_jax.MLPEncoder(1, ()), prior=vae_jax.standard_normal(1),
            posterior=vae_jax.coupling_flow(),
        )  # fmt: skip
    with pytest.raises(ValueError, match="num_layers"):
        vae_jax.coupling_flow(0)
    with pytest.raises(TypeError, match="Posterior"):
        tiny_vae(posterior="flow")
