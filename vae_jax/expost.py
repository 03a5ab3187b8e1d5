"""Priors fitted after the training, on the codes of the training rows.

Where the prior p(z) is not the aggregate posterior q(z) = mean_x q(z | x), samples from it decode
to what no example looks like. A density fitted to draws from q(z) takes the prior's place:

    prior, fitted = fit_mixture(aggregate_codes(vae, params, rng, x))
    better, params = vae._replace(prior=prior), {**params, "prior": fitted}

`sample`, `log_marginal` and the bounds take the new pair as they took the old one, and the
encoder and decoder are untouched, so that a gain in log p(x) is the prior's alone.

Source: Ghosh et al., arXiv:1903.12436, section 4; two stages: Dai and Wipf, arXiv:1903.05789.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax.checks import check_count, check_positive, check_seed
from vae_jax.data.arrays import array_batches
from vae_jax.draws import transform
from vae_jax.evaluate import posterior
from vae_jax.model import VAE, batch_size
from vae_jax.priors import Prior, flow_prior, mixture_of_normals
from vae_jax.train import init_train_state, train_scan
from vae_jax.types import Array, Key, Metrics, Params

BATCH = 256
"""Codes in a step of the flow's training."""

CHUNK = 100
"""Steps of it between two looks at the codes held out."""


def aggregate_codes(vae: VAE, params: Params, rng: Key, x: Any) -> Array:
    """One draw z ~ q(z | x) for each row of x [N, *data_shape]: [N, Z], a sample of q(z).

    Raises:
        ValueError: x is not [N, *data_shape].
    """
    mean, logvar = posterior(vae, params, x)

    def one(rng: Key, mean: Array, logvar: Array) -> Array:
        start = mean + jnp.exp(0.5 * logvar) * jax.random.normal(rng, mean.shape)
        return transform(vae, params, start, (mean, logvar))[0]

    return jax.vmap(one)(jax.random.split(rng, batch_size(x)), mean, logvar)


def fit_mixture(codes: Any, num_components: int = 10, seed: int = 0) -> tuple[Prior, Params]:
    """A `mixture_of_normals` fitted to codes [N, Z] by scikit-learn's EM, and its parameters.

    Raises:
        TypeError, ValueError: the codes are not [N, Z] and finite, or are fewer than components;
            a number is not as it must be.
        ImportError: scikit-learn is missing.
    """
    codes = _check_codes(codes)
    if len(codes) < check_count("num_components", num_components):
        raise ValueError(f"{num_components} components need as many codes, got {len(codes)}.")
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise ImportError(
            "fit_mixture needs scikit-learn: pip install 'vae_jax[images]'."
        ) from error
    found = GaussianMixture(
        num_components, covariance_type="diag", max_iter=200, random_state=check_seed(seed)
    ).fit(codes.astype(np.float64))
    params = {
        "logits": jnp.asarray(np.log(np.maximum(found.weights_, 1e-30)), jnp.float32),
        "mean": jnp.asarray(found.means_, jnp.float32),
        "logvar": jnp.asarray(np.log(found.covariances_), jnp.float32),
    }
    return mixture_of_normals(codes.shape[1], num_components), params


def fit_flow(
    rng: Key,
    codes: Any,
    *,
    num_layers: int = 6,
    hidden: tuple[int, ...] = (64,),
    num_steps: int = 2000,
    learning_rate: float = 2e-3,
) -> tuple[Prior, Params]:
    """A `flow_prior` fitted to codes [N, Z] by maximum likelihood, and its parameters.

    It starts at the Gaussian with the codes' means and variances and is trained by Adam on random
    batches, the rate falling to 0 along a cosine. The last tenth of the codes is held out, and the
    parameters that suit it best are kept, the first ones included: a flow can be sure of regions
    where it has seen nothing. With several draws for each example, let these be neighbours.

    Raises:
        TypeError, ValueError: the codes are not [N, Z] and finite, or fewer than 10; a number is
            not as it must be.
    """
    codes = np.asarray(_check_codes(codes), np.float32)
    if len(codes) < 10:
        raise ValueError(f"A flow needs at least 10 codes, a tenth is held out; got {len(codes)}.")
    check_count("num_steps", num_steps)
    check_positive("learning_rate", learning_rate)
    prior = flow_prior(codes.shape[1], num_layers, hidden)
    train, held = np.split(codes, [len(codes) - len(codes) // 10])
    ends = {
        "shift": jnp.asarray(train.mean(axis=0)),
        "log_scale": jnp.asarray(np.log(np.maximum(train.std(axis=0), 1e-6))),
    }
    rng_init, rng_run = jax.random.split(rng)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    loss_fn = partial(_negative_log_prob, prior)
    state = init_train_state(rng_init, partial(_start, prior, ends), loss_fn, optimizer)
    batch_fn = array_batches(min(BATCH, len(train)))
    score = jax.jit(lambda params: loss_fn(params, rng, jnp.asarray(held), 1.0)[0])
    best, lowest = state.params, float(score(state.params))
    for _ in range(-(-num_steps // CHUNK)):
        state, _ = train_scan(state, rng_run, train, 1.0, batch_fn=batch_fn, num_steps=CHUNK)
        if (now := float(score(state.params))) < lowest:
            best, lowest = state.params, now
    return prior, best


def _start(prior: Prior, ends: Params, rng: Key) -> Params:
    return {} if prior.init is None else prior.init(rng, ()) | ends


def _negative_log_prob(
    prior: Prior, params: Params, rng: Key, z: Array, beta: Any
) -> tuple[Array, Metrics]:
    loss = -jnp.mean(jax.vmap(lambda z: prior.log_prob(params, z))(z))  # type: ignore[misc]
    return loss, {"loss": loss}


def _check_codes(given: Any) -> np.ndarray[Any, Any]:
    codes: np.ndarray[Any, Any] = np.asarray(given)
    if codes.ndim != 2 or 0 in codes.shape:
        raise ValueError(f"codes must be [N, Z], got shape {codes.shape}.")
    if codes.dtype.kind != "f":
        raise TypeError(f"codes must hold real numbers, got type {codes.dtype}.")
    if not np.isfinite(codes).all():
        raise ValueError("codes hold NaN or infinite values; the encoder has overflowed.")
    return codes
