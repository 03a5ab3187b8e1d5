"""Fixtures: one small training problem for the whole session."""

import jax
import optax
import pytest
from helpers import Tiny, tiny_vae

import vae_jax


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    vae = tiny_vae()
    return Tiny(
        vae=vae,
        loss_fn=vae_jax.make_elbo(vae),
        optimizer=optax.adam(1e-2),
        batch_fn=vae_jax.array_batches(8),
        data=jax.random.normal(jax.random.key(7), (37, 3)),
    )
