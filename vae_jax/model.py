"""The VAE: network, likelihood and prior joined into pure functions of one example."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.checks import check_counts
from vae_jax.gaussian import normal_log_prob, reparameterize
from vae_jax.likelihoods import Likelihood
from vae_jax.networks import Network, as_network
from vae_jax.priors import Prior
from vae_jax.types import Array, Key, Params


class VAE(NamedTuple):
    """Pure functions of ONE example; `jax.vmap` gives the batch.

    init:   rng -> params, a nested dict with "encoder", "decoder" and, where the likelihood
            learns parameters of its own, "likelihood"
    encode: params, x [*data_shape] -> (mean [Z], logvar [Z]) of q(z | x)
    decode: params, z [Z] -> theta, the likelihood's parameters
    """

    init: Callable[[Key], Params]
    encode: Callable[[Params, Array], tuple[Array, Array]]
    decode: Callable[[Params, Array], Array]
    likelihood: Likelihood
    prior: Prior
    data_shape: tuple[int, ...]
    encoder: Any
    decoder: Any


def build_vae(
    encoder: Any,
    decoder: Any,
    *,
    likelihood: Likelihood,
    prior: Prior,
    data_shape: Sequence[int],
) -> VAE:
    """The `VAE` of these parts for examples of shape `data_shape`.

    `encoder` and `decoder` are Flax linen modules or `Network` records. The prior knows the
    latent dimension.

    Raises:
        TypeError: a part is of the wrong kind.
        ValueError: the parts do not fit each other, in which case the message says what to set.
    """
    data_shape = check_counts("data_shape", data_shape)
    if not isinstance(likelihood, Likelihood):
        raise TypeError(f"likelihood must be a Likelihood such as normal(), got {likelihood!r}.")
    if not isinstance(prior, Prior):
        raise TypeError(f"prior must be a Prior such as standard_normal(2), got {prior!r}.")
    encoder_net, decoder_net = as_network(encoder), as_network(decoder)

    def init(rng: Key) -> Params:
        rng_encoder, rng_decoder = jax.random.split(rng)
        params = {
            "encoder": encoder_net.init(rng_encoder, jnp.zeros(data_shape)),
            "decoder": decoder_net.init(rng_decoder, jnp.zeros(prior.latent_dim)),
        }
        if likelihood.shared:
            params["likelihood"] = jnp.asarray(likelihood.shared)
        return params

    def encode(params: Params, x: Array) -> tuple[Array, Array]:
        mean, logvar = encoder_net.apply(params["encoder"], x)
        return mean, logvar

    def decode(params: Params, z: Array) -> Array:
        theta: Array = decoder_net.apply(params["decoder"], z)
        if likelihood.shared:
            theta = jnp.concatenate([theta.reshape(-1), params["likelihood"]])
        return theta.reshape(-1)

    _check_networks(encoder_net, decoder_net, likelihood, prior, data_shape)
    return VAE(init, encode, decode, likelihood, prior, data_shape, encoder, decoder)


def log_weight(vae: VAE, params: Params, rng: Key, x: Array) -> Array:
    """One draw of log p(x, z) - log q(z | x) with z ~ q(z | x), in nats: x [*data_shape] -> [].

    Its mean is the ELBO and the mean of its exp is p(x), so importance-weighted bounds, test
    likelihoods and the bits-back rate can all be written on this one function.

    Source: Burda et al., arXiv:1509.00519, eq. 7.
    """
    mean, logvar = vae.encode(params, x)
    z = reparameterize(rng, mean, logvar)
    log_q = jnp.sum(normal_log_prob(z, mean, logvar))
    return log_likelihood(vae, params, z, x) + vae.prior.log_prob(z) - log_q


def log_likelihood(vae: VAE, params: Params, z: Array, x: Array) -> Array:
    """log p(x | z) in nats: z [Z], x [*data_shape] -> []."""
    return vae.likelihood.log_prob(vae.decode(params, z), x.reshape(-1))


def check_batch(vae: VAE, x: Array) -> None:
    """Raises ValueError unless x has the static shape [B, *data_shape] with B of at least 1."""
    shape = jnp.shape(x)
    if len(shape) == 0 or shape[1:] != vae.data_shape or shape[0] == 0:
        expected = ", ".join(["B", *map(str, vae.data_shape)])
        hint = " (for one example, pass x[None])" if shape == vae.data_shape else ""
        raise ValueError(f"x has shape {shape}, this VAE needs [{expected}]{hint}.")


def _check_networks(
    encoder: Network,
    decoder: Network,
    likelihood: Likelihood,
    prior: Prior,
    data_shape: tuple[int, ...],
) -> None:
    latent = (prior.latent_dim,)
    out = _output(encoder, data_shape, "encoder")
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(f"The encoder must return (mean, logvar), it returned {out}.")
    for name, value in zip(("mean", "logvar"), out, strict=True):
        if value.shape != latent:
            flat = f", flatten the data to shape ({math.prod(data_shape)},)"
            raise ValueError(
                f"The encoder's {name} has shape {value.shape} for one example of shape "
                f"{data_shape}, the prior needs {latent}: give both the same latent_dim"
                f"{flat if len(data_shape) > 1 else ''}."
            )
    theta = _output(decoder, latent, "decoder")
    wanted = math.prod(data_shape) * likelihood.num_params
    if not hasattr(theta, "size") or theta.size != wanted:
        got = f"{theta.size} numbers" if hasattr(theta, "size") else repr(theta)
        raise ValueError(
            f"The decoder returns {got} for one latent, {likelihood.text} over data of shape "
            f"{data_shape} needs {wanted}: set num_out={wanted}."
        )


def _output(network: Network, shape: tuple[int, ...], name: str) -> Any:
    """What the network returns for one input of `shape`, as shapes: nothing is computed."""
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        return jax.eval_shape(
            lambda rng, x: network.apply(network.init(rng, x), x),
            jax.eval_shape(lambda: jax.random.key(0)),
            example,
        )
    except (TypeError, ValueError, IndexError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"The {name} does not take an input of shape {shape}: {error}") from error
