"""The same network under every objective, prior and posterior: what each does to the latent.

The data are points of the Swiss roll and scikit-learn's digits as bits: pixels above a half.
"""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vae_jax as vj
from experiments.command import run
from experiments.objectives_figure import draw
from vae_jax import Problem, product, replica, sweep
from vae_jax.checkpoint import save_arrays, write_atomic
from vae_jax.checks import check_count
from vae_jax.data.images import load_images
from vae_jax.devices import use_all_cores

GRID = 12
NUM_TEST = 297
CODES = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    steps: int = 3000
    """Training steps of each model."""
    hidden_dim: int = 64
    """Width of the two hidden layers, in units."""
    seeds: int = 4
    """Models of each kind, trained side by side."""
    samples: int = 2000
    """Importance samples per test row."""
    out: Path = Path("results/objectives")
    """Folder of the figure and the table, which replace older ones."""


class Kind(NamedTuple):
    """One way to train: an objective with the prior and posterior that go with it."""

    make: Callable[[vj.VAE], Any] = vj.make_elbo
    prior: Callable[[int], vj.Prior] = vj.standard_normal
    posterior: Callable[[], vj.Posterior] = vj.diagonal_normal
    prepare: Callable[[vj.VAE, Any], vj.VAE] = lambda vae, rows: vae


KINDS: dict[str, Kind] = {
    "ELBO": Kind(),
    "beta = 4": Kind(lambda vae: _weighed(vj.make_elbo(vae), 4.0)),
    "free bits 1": Kind(lambda vae: vj.make_elbo(vae, free_bits=1.0)),
    "capacity 2": Kind(lambda vae: _weighed(vj.make_capacity(vae, 2.0), 10.0)),
    "IWAE, K = 8": Kind(lambda vae: vj.make_iwae(vae, 8)),
    "IWAE, DReG": Kind(lambda vae: vj.make_iwae(vae, 8, "dreg")),
    "MIWAE 4 x 4": Kind(lambda vae: vj.make_miwae(vae, 4, 4)),
    "CIWAE": Kind(lambda vae: vj.make_ciwae(vae, 8, 0.5)),
    "PIWAE 4 x 4": Kind(lambda vae: vj.make_piwae(vae, 4, 4)),
    "TCVAE, 4": Kind(lambda vae: _weighed(vj.make_tcvae(vae, 1500), 4.0)),
    "InfoVAE": Kind(lambda vae: vj.make_infovae(vae, 0.5, 10.0)),
    "WAE": Kind(lambda vae: vj.make_wae(vae, 50.0)),
    "DIP": Kind(lambda vae: vj.make_dip(vae)),
    "FactorVAE": Kind(
        lambda vae: vj.make_factor(vae), prepare=lambda vae, rows: vj.add_critic(vae, (64,))
    ),
    "VQ": Kind(vj.make_vq, lambda latent_dim: vj.codebook(latent_dim, CODES)),
    "mixture prior": Kind(prior=lambda latent_dim: vj.mixture_of_normals(latent_dim, 10)),
    "VampPrior": Kind(
        prior=lambda latent_dim: vj.vamp_prior(latent_dim, 50),
        prepare=lambda vae, rows: vj.start_at_rows(vae, jax.random.key(0), rows),
    ),
    "flow posterior": Kind(posterior=vj.coupling_flow),
}


class Task(NamedTuple):
    """A data set with its likelihood: train and test rows, and how training draws batches."""

    likelihood: vj.Likelihood
    num_out: int
    train: Any
    test: Any
    batches: Any


def tasks() -> dict[str, Task]:
    roll = vj.swiss_roll(jax.random.key(0), 1500 + NUM_TEST)
    digits = load_images("digits")
    grey = np.concatenate([digits.train, digits.test]).reshape(-1, 64)
    bits = (grey > 127).astype(np.float32)
    batches = vj.array_batches(100)
    return {
        "Swiss roll": Task(vj.normal(), 2, roll[:1500], roll[1500:], batches),
        "digits": Task(vj.bernoulli(), 64, bits[:1500], bits[1500:], batches),
    }


def problem(task: Task, kind: Kind, hidden_dim: int) -> Problem:
    hidden = (hidden_dim, hidden_dim)
    vae = vj.build_vae(
        vj.MLPEncoder(2, hidden), vj.MLPDecoder(task.num_out, hidden), likelihood=task.likelihood,
        prior=kind.prior(2), data_shape=task.train.shape[1:], posterior=kind.posterior(),
    )  # fmt: skip
    vae = kind.prepare(vae, task.train)
    return Problem(vae, kind.make(vae), task.batches)


def _weighed(loss_fn: Any, weight: float) -> Any:
    """The loss with its beta multiplied."""
    return lambda params, rng, x, beta: loss_fn(params, rng, x, weight * beta)


def measure(vae: vj.VAE, params: Any, test: Any, samples: int) -> dict[str, float]:
    """NLL, KL and active units of one model on the test rows."""
    if vae.prior.quantize is not None:
        nll, rate, ess = exact_nll(vae, params, test), np.log(CODES), np.inf
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the table has a column for it
            found = vj.log_marginal(vae, params, jax.random.key(0), test, samples)
        nll, ess = -found.log_prob.mean(), np.median(found.ess)
        rngs = jax.random.split(jax.random.key(1), len(test))
        drawn = jax.vmap(lambda rng, x: vj.draw(vae, params, rng, x))(rngs, test)
        rate = float(jnp.mean(drawn.log_q - drawn.log_prior))
    units = int(vj.active_units(vae, params, test).sum())
    return {"nll": float(nll), "kl": float(rate), "active": units, "ess": float(ess)}


def exact_nll(vae: vj.VAE, params: Any, test: Any) -> float:
    """Of a codebook of one group: p(x) is the mean over all codes of p(x | code)."""
    thetas = jax.vmap(lambda z: vae.decode(params, z))(params["prior"]["codes"][0])
    by_code = jax.vmap(lambda x: jax.vmap(lambda t: vae.likelihood.log_prob(t, x))(thetas))
    return float(-jnp.mean(vj.log_mean_exp(by_code(jnp.asarray(test)))))


def decoded_grid(vae: vj.VAE, params: Any) -> np.ndarray[Any, Any]:
    """Decoded means [GRID^2, D] over the central 90 % of the prior's draws in each dimension."""
    drawn = np.asarray(vj.sample_prior(vae, params, jax.random.key(2), 2000))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    sides = [np.linspace(a, b, GRID) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray(vj.decode_mean(vae, params, grid.astype(np.float32)))


def main(settings: Settings) -> None:
    check_count("steps", settings.steps), check_count("seeds", settings.seeds, 2)
    use_all_cores()
    settings.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for task_name, task in tasks().items():
        for name, kind in KINDS.items():
            print(f"{task_name}: {name}")
            of_kind = problem(task, kind, settings.hidden_dim)
            trained = sweep(
                lambda of_kind=of_kind: of_kind, product(seed=range(settings.seeds)), task.train,
                num_steps=settings.steps, chunk_steps=max(1, settings.steps // 5),
            )  # fmt: skip
            models = [replica(trained, seed) for seed in range(settings.seeds)]
            measured = [measure(*model, task.test, settings.samples) for model in models]
            grid = decoded_grid(*models[0])
            found[f"{task_name}: {name}"] = {
                key: np.array([each[key] for each in measured]) for key in measured[0]
            } | {"grid": grid}
    save_arrays(
        settings.out / "grids.npz", {name: result["grid"] for name, result in found.items()}
    )
    draw(settings.out / "objectives.png", found)
    text = table(found, settings)
    write_atomic(settings.out / "objectives.md", text.encode())
    print(text)


def table(found: dict[str, dict[str, Any]], settings: Settings) -> str:
    lines = ["| data | kind | NLL ± SE | KL | active | median ESS |", "|---|---|--:|--:|--:|--:|"]
    for name, result in found.items():
        data, kind = name.split(": ", 1)
        error = result["nll"].std(ddof=1) / len(result["nll"]) ** 0.5
        ess = "exact" if np.isinf(result["ess"]).all() else f"{np.median(result['ess']):.0f}"
        lines.append(
            f"| {data} | {kind} | {result['nll'].mean():.3f} ± {error:.3f} | "
            f"{result['kl'].mean():.2f} | {result['active'].mean():.2g} | {ess} |"
        )
    note = (
        f"Nats per example on {NUM_TEST} test rows, means over {settings.seeds} seeds with the "
        f"standard error of that mean; NLL from {settings.samples:,} importance samples, of VQ "
        f"exact; KL is the mean of log q(z given x) - log p(z). {settings.steps} steps."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    run(main, Settings)
