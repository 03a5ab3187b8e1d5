"""The numbers of an image run: log p(x), units, the prior's gap and who closes it, anomalies."""

import math
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vae_jax as vj
from experiments.image_settings import Settings
from experiments.image_task import DENSITY, Task, values
from vae_jax.draws import log_prior
from vae_jax.expost import aggregate_codes, fit_flow, fit_mixture

ROWS = 10_000
"""Training images of which units, rates and information are taken."""

COMPONENTS, CODES, FLOW_STEPS = 50, 10_000, 2000


class Measured(NamedTuple):
    numbers: dict[str, Any]
    """What goes into summary.json."""
    samplers: dict[str, tuple[vj.VAE, Any]]
    """The VAE with its own prior and with those fitted to its codes."""
    scores: dict[str, Any]
    """Of the test images [N] each: `nll` in nats, `error` (mean squared, per pixel)."""
    rates: Any
    """[Z]: KL by latent dimension over the training images, in nats."""
    units: Any
    """[Z] of bool: active."""


def measure(vae: vj.VAE, params: Any, task: Task, settings: Settings) -> Measured:
    """Everything that the report says of the trained VAE."""
    rng_nll, rng_codes, rng_fit, rng_mi = jax.random.split(jax.random.key(settings.seed), 4)
    images, labels = task.test
    part = (images[: settings.test_images], cut(labels, settings.test_images))
    test, train = values(task, part, 1), values(task, first(task.train, ROWS))
    found, worn = log_marginal(vae, params, rng_nll, test, settings.samples)
    known = np.ones(len(part[0]), bool)
    if settings.hold_out is not None:
        known = part[1] != settings.hold_out
        if known.all() or not known.any():
            raise ValueError("The first test images hold one kind only; raise --test-images.")
    x = test[0] if task.conditional else test
    rebuilt = np.asarray(jax.jit(partial(vj.reconstruct, vae))(params, test))
    scores = {
        "nll": -found.log_prob,
        "error": np.square(rebuilt - x).reshape(len(x), -1).mean(axis=1),
    }
    units = np.asarray(jax.jit(partial(vj.active_units, vae))(params, train))
    rates = np.asarray(jax.jit(partial(vj.kl_per_dim, vae))(params, train))
    numbers = {
        **likelihood_numbers(task, found, known),
        "warning": worn,
        "reconstruction_error": float(scores["error"][known].mean()),
        "active_units": int(units.sum()),
        "latent_dim": len(units),
        "kl_per_dim": [round(float(rate), 4) for rate in rates],
        **gap(vae, params, rng_mi, train),
    }
    samplers = fit_samplers(vae, params, train, rng_fit, settings.seed)
    subset = jax.tree.map(lambda leaf: leaf[known], test)
    numbers["samplers"] = compare(
        samplers, params, (rng_nll, rng_codes), subset, settings.samples, scores["nll"][known]
    )
    if settings.hold_out is not None:
        numbers["auroc"] = {name: auroc(score, ~known) for name, score in scores.items()}
    return Measured(numbers, samplers, scores, rates, units)


def first(part: Any, num: int) -> Any:
    return part[0][:num], cut(part[1], num)


def cut(labels: Any, num: int) -> Any:
    return None if labels is None else labels[:num]


def log_marginal(
    vae: vj.VAE, params: Any, rng: Any, x: Any, num_samples: int
) -> tuple[vj.Marginal, str]:
    """The estimates, and the warning that came with them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = vj.log_marginal(vae, params, rng, x, num_samples)
    return found, " ".join(str(warning.message) for warning in caught)


def likelihood_numbers(task: Task, found: vj.Marginal, known: Any) -> dict[str, Any]:
    """NLL with its standard error over images, that of the sampling, bits/dim and ESS."""
    logs, dims = found.log_prob[known], math.prod(task.shape)
    error = float(logs.std(ddof=1) / len(logs) ** 0.5) if len(logs) > 1 else math.nan
    # A density over x / 256 becomes a bound on the log-probability of the level.
    of_levels = logs - dims * math.log(256) if task.kind == DENSITY else logs
    bits = vj.bits_per_dim(of_levels, task.shape)
    return {
        "nll": float(-logs.mean()),
        "nll_error": error,
        "nll_sampling_error": float(np.sqrt(np.square(found.standard_error[known]).sum())
                                    / len(logs)),
        "bits_per_dim": float(bits.mean()),
        "bits_per_dim_error": error / (dims * math.log(2)),
        "ess": float(np.median(found.ess[known])),
        "ess_lowest": float(found.ess[known].min()),
        "num_test": len(logs),
    }  # fmt: skip


def gap(vae: vj.VAE, params: Any, rng: Any, x: Any) -> dict[str, Any]:
    """Rate, I(x; z) and their difference KL(q(z) || p(z)), over these images, in nats."""
    rng_rate, rng_information = jax.random.split(rng)
    logs = jax.jit(partial(_rates, vae))(params, rng_rate, x)
    rate, rows = float(jnp.mean(logs)), len(logs)
    if vae.posterior.init is not None:
        return {"rate": rate, "information": None, "gap": None, "gap_rows": rows}
    information, _ = vj.mutual_information(vae, params, rng_information, x)
    return {"rate": rate, "information": information, "gap": rate - information, "gap_rows": rows}


def _rates(vae: vj.VAE, params: Any, rng: Any, x: Any) -> Any:
    """log q(z | x) - log p(z) at one draw for each example."""

    def one(row: Any) -> Any:
        rng, x = row
        drawn = vj.draw(vae, params, rng, x)
        return drawn.log_q - drawn.log_prior

    rngs = jax.random.split(rng, jax.tree.leaves(x)[0].shape[0])
    return jax.lax.map(one, (rngs, jax.tree.map(jnp.asarray, x)), batch_size=512)


def fit_samplers(vae: vj.VAE, params: Any, x: Any, rng: Any, seed: int) -> dict[str, Any]:
    """The VAE's own prior, a mixture and a flow, the last two fitted to codes of x."""
    rng_codes, rng_flow = jax.random.split(rng)
    rows = len(jax.tree.leaves(x)[0])
    draw = jax.jit(partial(aggregate_codes, vae))
    rngs = jax.random.split(rng_codes, -(-CODES // rows))
    draws = np.stack([np.asarray(draw(params, rng, x)) for rng in rngs], axis=1)
    codes = draws.reshape(-1, draws.shape[-1])
    fitted = {
        "mixture": fit_mixture(codes, min(COMPONENTS, max(1, rows // 20)), seed),
        "flow": fit_flow(rng_flow, codes, num_steps=FLOW_STEPS),
    }
    others = {
        name: (vae._replace(prior=prior), params | {"prior": found})
        for name, (prior, found) in fitted.items()
    }
    return {"prior": (vae, params)} | others


def compare(
    samplers: dict[str, Any], params: Any, rngs: Any, x: Any, num_samples: int, own_nll: Any
) -> dict[str, Any]:
    """For each prior over the same test images: NLL (`own_nll` for the VAE's own), and by how
    much KL(q(z) || prior) is below that to the VAE's own, with its standard error, in nats."""
    rng_nll, rng_codes = rngs
    vae = samplers["prior"][0]
    z = jax.jit(partial(aggregate_codes, vae))(params, rng_codes, x)
    table, own = {}, None
    for name, (other, fitted) in samplers.items():
        logs = jax.jit(jax.vmap(partial(log_prior, other, fitted)))(z)
        own = logs if own is None else own
        closed = np.asarray(logs - own, np.float64)
        nll = own_nll
        if name != "prior":
            nll = -log_marginal(other, fitted, rng_nll, x, num_samples)[0].log_prob
        table[name] = {
            "nll": float(nll.mean()),
            "closed": float(closed.mean()),
            "closed_error": float(closed.std() / max(1, len(closed) - 1) ** 0.5),
        }
    return table


def auroc(scores: Any, anomalous: Any) -> float:
    """The chance that an anomalous image scores above another one, ties counting half."""
    others, found = np.sort(scores[~anomalous]), scores[anomalous]
    below = np.searchsorted(others, found, "left") + np.searchsorted(others, found, "right")
    return float(below.mean() / (2 * len(others)))
