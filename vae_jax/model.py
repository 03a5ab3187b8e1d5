"""The VAE: network, likelihood, prior and posterior joined into pure functions of one example."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.checks import check_counts
from vae_jax.likelihoods.record import Likelihood
from vae_jax.networks import Network, as_network
from vae_jax.posteriors import Posterior, diagonal_normal
from vae_jax.priors import Prior
from vae_jax.types import Array, Key, Params


class VAE(NamedTuple):
    """Pure functions of ONE example; `jax.vmap` gives the batch.

    init:   rng -> params, a nested dict with "encoder", "decoder" and, where they learn parameters
            of their own, "likelihood", "prior" and "posterior"
    encode: params, x [*data_shape] -> (mean [Z], logvar [Z]), the Gaussian of q(z | x)
    decode: params, z [Z] -> theta, the likelihood's parameters

    With a `condition_shape`, encode and decode take the condition as one more argument, and
    wherever else x is asked for, the pair (x, condition) is meant.
    """

    init: Callable[[Key], Params]
    encode: Callable[..., tuple[Array, Array]]
    decode: Callable[..., Array]
    likelihood: Likelihood
    prior: Prior
    data_shape: tuple[int, ...]
    encoder: Any
    decoder: Any
    posterior: Posterior
    condition_shape: tuple[int, ...] | None = None


def build_vae(
    encoder: Any,
    decoder: Any,
    *,
    likelihood: Likelihood,
    prior: Prior,
    data_shape: Sequence[int],
    posterior: Posterior | None = None,
    condition_shape: Sequence[int] | None = None,
) -> VAE:
    """The `VAE` of these parts for examples of shape `data_shape`.

    `encoder` and `decoder` are Flax linen modules or `Network` records. The prior knows the
    latent dimension; the posterior is `diagonal_normal()` unless another is given. A
    `condition_shape` makes it a model of p(x | condition): () for one number, (C,) for a class as
    one-hot.

    Raises:
        TypeError: a part is of the wrong kind.
        ValueError: the parts do not fit each other, in which case the message says what to set.
    """
    data_shape = check_counts("data_shape", data_shape)
    posterior = diagonal_normal() if posterior is None else posterior
    _check_kinds(likelihood, prior, posterior)
    encoder_net, decoder_net = as_network(encoder), as_network(decoder)
    shared = likelihood.shared(math.prod(data_shape))
    conditions: tuple[Any, ...] = ()
    if condition_shape is not None:
        condition_shape = check_counts("condition_shape", condition_shape)
        conditions = (jax.ShapeDtypeStruct(condition_shape, jnp.float32),)

    def init(rng: Key) -> Params:
        rng_encoder, rng_decoder = jax.random.split(rng)
        zeros = [jnp.zeros(condition.shape) for condition in conditions]
        latent_dim = prior.latent_dim
        params = {
            "encoder": encoder_net.init(rng_encoder, jnp.zeros(data_shape), *zeros),
            "decoder": decoder_net.init(rng_decoder, jnp.zeros(latent_dim), *zeros),
        }
        if shared:
            params["likelihood"] = jnp.asarray(shared)
        if prior.init is not None:
            params["prior"] = prior.init(jax.random.fold_in(rng, 0), data_shape)
        if posterior.init is not None:
            params["posterior"] = posterior.init(jax.random.fold_in(rng, 1), latent_dim)
        return params

    def encode(params: Params, x: Array, *condition: Array) -> tuple[Array, Array]:
        mean, logvar = encoder_net.apply(params["encoder"], x, *condition)
        return mean, logvar

    def decode(params: Params, z: Array, *condition: Array) -> Array:
        theta: Array = decoder_net.apply(params["decoder"], z, *condition)
        if shared:
            theta = jnp.concatenate([theta.reshape(-1), params["likelihood"]])
        return theta.reshape(-1)

    _check_networks(encoder_net, decoder_net, likelihood, prior, data_shape, conditions)
    vae = VAE(
        init, encode, decode, likelihood, prior, data_shape, encoder, decoder, posterior,
        condition_shape,
    )  # fmt: skip
    _check_learned(vae)
    return vae


def split_condition(vae: VAE, x: Any) -> tuple[Any, tuple[Any, ...]]:
    """x and the further arguments of encode and decode: () or, where it is conditional, one."""
    return (x, ()) if vae.condition_shape is None else (x[0], (x[1],))


def batch_size(x: Any) -> int:
    """B of x [B, ...], or of the pair (x, condition)."""
    return int(jax.tree.leaves(x)[0].shape[0])


def check_batch(vae: VAE, x: Any) -> None:
    """Raises ValueError unless x has the static shape [B, *data_shape] with B of at least 1, with
    a condition [B, *condition_shape] beside it where the VAE has one."""
    if vae.condition_shape is not None:
        if not isinstance(x, tuple | list) or len(x) != 2:
            raise ValueError("This VAE is conditional: pass the pair (x, condition) as x.")
        x, condition = x
        if jnp.shape(condition) != (*jnp.shape(x)[:1], *vae.condition_shape):
            wanted = ", ".join(map(str, (*jnp.shape(x)[:1], *vae.condition_shape)))
            raise ValueError(f"The condition has shape {jnp.shape(condition)}, needed: [{wanted}].")
    shape = jnp.shape(x)
    if len(shape) == 0 or shape[1:] != vae.data_shape or shape[0] == 0:
        expected = ", ".join(["B", *map(str, vae.data_shape)])
        hint = " (for one example, pass x[None])" if shape == vae.data_shape else ""
        raise ValueError(f"x has shape {shape}, this VAE needs [{expected}]{hint}.")


def _check_kinds(likelihood: Likelihood, prior: Prior, posterior: Posterior) -> None:
    if not isinstance(likelihood, Likelihood):
        raise TypeError(f"likelihood must be a Likelihood such as normal(), got {likelihood!r}.")
    if not isinstance(prior, Prior):
        raise TypeError(f"prior must be a Prior such as standard_normal(2), got {prior!r}.")
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"posterior must be a Posterior such as diagonal_normal(), got {posterior!r}."
        )


def _check_learned(vae: VAE) -> None:
    """That prior and posterior can be made for these dimensions, as shapes: nothing is computed."""
    if vae.posterior.init is None and vae.prior.init is None:
        return
    params = jax.eval_shape(vae.init, jax.eval_shape(lambda: jax.random.key(0)))
    if vae.condition_shape is not None and vae.prior.text.startswith("vamp_prior("):
        raise ValueError("vamp_prior() encodes pseudo-inputs, for which there is no condition.")
    jax.eval_shape(lambda p: vae.prior.theta(p.get("prior"), lambda x: vae.encode(p, x)), params)


def _check_networks(
    encoder: Network,
    decoder: Network,
    likelihood: Likelihood,
    prior: Prior,
    data_shape: tuple[int, ...],
    conditions: tuple[Any, ...],
) -> None:
    latent = (prior.latent_dim,)
    out = _output(encoder, data_shape, "encoder", conditions)
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
    theta = _output(decoder, latent, "decoder", conditions)
    wanted = math.prod(data_shape) * likelihood.num_params
    if not hasattr(theta, "size") or theta.size != wanted:
        got = f"{theta.size} numbers" if hasattr(theta, "size") else repr(theta)
        raise ValueError(
            f"The decoder returns {got} for one latent, {likelihood.text} over data of shape "
            f"{data_shape} needs {wanted}: set num_out={wanted}, or shape and outputs of "
            f"a ConvDecoder."
        )


def _output(
    network: Network, shape: tuple[int, ...], name: str, conditions: tuple[Any, ...]
) -> Any:
    """What the network returns for one input of `shape`, as shapes: nothing is computed."""
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        return jax.eval_shape(
            lambda rng, *x: network.apply(network.init(rng, *x), *x),
            jax.eval_shape(lambda: jax.random.key(0)),
            example,
            *conditions,
        )
    except (TypeError, ValueError, IndexError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        given = f" with a condition of shape {conditions[0].shape}" if conditions else ""
        raise kind(f"The {name} does not take an input of shape {shape}{given}: {error}") from error
