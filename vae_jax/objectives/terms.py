"""The two terms that the objectives share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax.draws import Draw, closed_kl, draw_from, has_closed_kl
from vae_jax.model import VAE, batch_size, check_batch, split_condition
from vae_jax.types import Array, Key, Metrics, Params


class Batch(NamedTuple):
    """One draw for each example: [B, ...] each; `kl` is KL(q(z | x) || p(z)) [B], in nats, in
    closed form where prior and posterior have one, else log q - log p at the drawn z."""

    draw: Draw
    mean: Array
    logvar: Array
    kl: Array


def draw_batch(vae: VAE, params: Params, rng: Key, x: Any) -> Batch:
    """One draw for each example of x [B, *data_shape].

    Each example has its own key, so its noise does not depend on its neighbours.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    check_batch(vae, x)

    def one(rng: Key, x: Any) -> Batch:
        x, condition = split_condition(vae, x)
        mean, logvar = vae.encode(params, x, *condition)
        draw = draw_from(vae, params, rng, x, (mean, logvar), condition)
        if has_closed_kl(vae):
            return Batch(draw, mean, logvar, jnp.sum(closed_kl(vae, params, mean, logvar)))
        return Batch(draw, mean, logvar, draw.log_q - draw.log_prior)

    return jax.vmap(one)(jax.random.split(rng, batch_size(x)), x)


def recon_and_kl(vae: VAE, params: Params, rng: Key, x: Any) -> tuple[Array, Array]:
    """log p(x | z) with one z ~ q(z | x), and KL(q(z | x) || p(z)): [B] and [B], in nats.

    Raises:
        ValueError: x is not [B, *data_shape].
    """
    batch = draw_batch(vae, params, rng, x)
    return batch.draw.log_lik, batch.kl


def report(
    loss: Array, recon: Array, kl: Array, bound: Array, **more: Array
) -> tuple[Array, Metrics]:
    """The loss and its metrics: `loss` is what is optimised, `bound` a lower bound on log p(x) in
    nats, which may be reported whatever the loss."""
    return loss, {"loss": loss, "recon": recon, "kl": kl, "bound": bound, **more}
