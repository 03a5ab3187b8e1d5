"""Train a VAE on the Swiss roll, as the teaching notebook does, and draw what it learned."""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

import vae_jax as vj
from experiments.command import run
from experiments.drawing import figures_of
from experiments.quality import distance_and_coverage, latent_points
from vae_jax.checkpoint import save_arrays, write_json
from vae_jax.checks import check_count, check_positive, check_seed
from vae_jax.data.swiss_roll import roll_angles, roll_point
from vae_jax.inputs import RUNS_ONCE

OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}
GRID_SIZE, GRID_EXTENT = 20, 2.0
NUM_POINTS, NUM_PAIRS, NUM_SAMPLES = 10_000, 1_000, 2_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags; the defaults are the teaching notebook's run."""

    steps: int = 1000
    """Training steps in all, those before --resume included."""
    batch_size: int = 128
    """Fresh points per step."""
    learning_rate: float = 1e-3
    """Step size of the optimiser (per step)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain stochastic gradient descent."""
    beta: float | None = None
    """Weight of the KL term (no unit). Default: 0.01 with squared_error (the teaching form),
    1 with any other likelihood (the bound in nats)."""
    latent_dim: int = 2
    """Latent dimensions."""
    hidden_dim: int = 256
    """Width of each hidden layer, in units."""
    depth: int = 3
    """Hidden layers of the encoder, and of the decoder."""
    likelihood: str = "squared_error"
    """squared_error, normal (noise learned), "normal(std=0.07)", "student_t(df=3)" or any other of
    vae_jax.likelihoods over real numbers; scales in units of the data."""
    clip: float | None = None
    """Largest norm of the gradient; a larger one is scaled down to it. Default: no bound."""
    bound_logvar: float | None = None
    """Keeps the encoder's logvar smoothly within plus and minus this. Default: no bound."""
    seed: int = 0
    """Seed of the one key that everything random comes from."""
    out: Path = Path("results/swiss_roll")
    """Folder of the run. An older run in it is moved aside, unless it is resumed."""
    resume: bool = False
    """Go on with the run in the folder, to the same result as if it had never stopped."""
    debug: bool = False
    """If numbers break, run that step again under jax's NaN checks."""
    check_determinism: bool = False
    """Run the first chunk twice and compare the bits."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard, too, to OUT/tensorboard."""

    def kept(self) -> dict[str, Any]:
        """What must be the same on resuming."""
        free = ("steps", "out", "resume", "debug", "check_determinism", "tensorboard")
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}


def build(settings: Settings) -> tuple[vj.VAE, Any, float]:
    """The VAE, its loss and its beta."""
    hidden = (settings.hidden_dim,) * check_count("depth", settings.depth, 0)
    likelihood = vj.from_text(settings.likelihood)
    encoder: Any = vj.MLPEncoder(settings.latent_dim, hidden)
    if settings.bound_logvar is not None:
        bound = check_positive("bound_logvar", settings.bound_logvar)
        encoder = vj.BoundedEncoder(encoder, -bound, bound)
    vae = vj.build_vae(
        encoder,
        vj.MLPDecoder(2 * getattr(likelihood, "num_params", 1), hidden),
        likelihood=likelihood,
        prior=vj.standard_normal(settings.latent_dim),
        data_shape=(2,),
    )
    teaching = vae.likelihood.text == "squared_error()"
    loss_fn = vj.make_teaching(vae) if teaching else vj.make_elbo(vae)
    beta = settings.beta if settings.beta is not None else (0.01 if teaching else 1.0)
    return vae, loss_fn, beta


def optimiser(settings: Settings) -> optax.GradientTransformation:
    """The optimiser that the flags name, its gradients clipped if they say so."""
    rate = check_positive("learning_rate", settings.learning_rate)
    chosen = OPTIMIZERS[settings.optimizer](rate)
    if settings.clip is None:
        return chosen
    return optax.chain(optax.clip_by_global_norm(check_positive("clip", settings.clip)), chosen)


@partial(jax.jit, static_argnums=0)
def pictures(vae: vj.VAE, params: Any, rng: Any) -> dict[str, Any]:
    """The arrays behind the figures: fresh points of the roll and what the VAE makes of them."""
    rng_angles, rng_samples = jax.random.split(rng)
    angles = roll_angles(rng_angles, NUM_POINTS)
    points = roll_point(angles)
    latents = vj.sample_prior(vae, params, rng_samples, NUM_SAMPLES)
    return {
        "angles": angles,
        "points": points,
        "originals": points[:NUM_PAIRS],
        "reconstructions": vj.reconstruct(vae, params, points[:NUM_PAIRS]),
        "latent_means": vj.posterior(vae, params, points)[0],
        "samples": vj.decode_mean(vae, params, latents),
        "grid": vj.decode_mean(vae, params, _grid(vae)),
        "kl_per_dim": vj.kl_per_dim(vae, params, points),
    }


def _grid(vae: vj.VAE) -> Any:
    return latent_points(GRID_SIZE, GRID_EXTENT, vae.prior.latent_dim)


def keep_evolution(vae: vj.VAE, folder: Path) -> Callable[[vj.TrainState], None]:
    """An `on_chunk` that writes the decoded grid to `folder`."""
    decode = jax.jit(lambda params: vj.decode_mean(vae, params, _grid(vae)))

    def keep(state: vj.TrainState) -> None:
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{int(state.step):09d}.npy", np.asarray(decode(state.params)))

    return keep


def read_evolution(folder: Path, steps: int) -> tuple[Any, Any]:
    """The kept grids nearest to every tenth of `steps`, and their steps."""
    paths = {int(path.stem): path for path in folder.glob("*.npy")}
    wanted = [steps * tenth / 10 for tenth in range(11)]
    chosen = sorted({min(paths, key=lambda step: abs(step - want)) for want in wanted})
    grids = [np.load(paths[step], allow_pickle=False) for step in chosen]
    return np.stack(grids), np.array(chosen)


def summarise(fitted: vj.Fit, arrays: dict[str, Any]) -> dict[str, Any]:
    """The numbers of summary.json."""
    last = {f"final_{name}": float(v[-100:].mean()) for name, v in fitted.metrics.items()}
    sample_distance, sample_coverage = distance_and_coverage(arrays["samples"])
    grid_distance, grid_coverage = distance_and_coverage(arrays["grid"])
    return last | {
        "kl_per_dim": [round(float(value), 4) for value in arrays["kl_per_dim"]],
        "sample_distance": sample_distance,
        "sample_coverage": sample_coverage,
        "grid_distance": grid_distance,
        "grid_coverage": grid_coverage,
        "steps": len(fitted.metrics["loss"]),
        "steps_per_second": fitted.steps_per_second,
    }


def main(settings: Settings) -> None:
    started = time.perf_counter()
    optimizer = optimiser(settings)
    check_seed(settings.seed)
    vae, loss_fn, beta = build(settings)
    rng_train, rng_pictures = jax.random.split(jax.random.key(settings.seed))
    evolution = settings.out / "evolution"
    with figures_of(settings.out) as draw, ThreadPoolExecutor(max_workers=1) as pool:
        shapes = jax.eval_shape(vae.init, rng_train)
        drawn = pool.submit(lambda: pictures.lower(vae, shapes, rng_pictures).compile(RUNS_ONCE))
        fitted = vj.fit(
            vae, loss_fn, optimizer, None, rng_train,
            batch_fn=vj.swiss_roll_batches(settings.batch_size), num_steps=settings.steps,
            beta=beta, run_dir=settings.out, resume=settings.resume, settings=settings.kept(),
            chunk_steps=-(-settings.steps // 10), on_chunk=keep_evolution(vae, evolution),
            debug=settings.debug, check_determinism=settings.check_determinism,
            log=vj.tensorboard_log(settings.out / "tensorboard") if settings.tensorboard else None,
        )  # fmt: skip
        arrays = jax.device_get(drawn.result()(fitted.state.params, rng_pictures))
        grids, steps = read_evolution(evolution, settings.steps)
        arrays |= {"evolution": grids, "evolution_steps": steps}
        save_arrays(settings.out / "arrays.npz", arrays)
        draw()
    summary = summarise(fitted, arrays) | {"seconds": time.perf_counter() - started}
    write_json(settings.out / "summary.json", summary)
    print(report(settings, summary))


def report(settings: Settings, summary: dict[str, Any]) -> str:
    """The end of the run in four lines."""
    rates = ", ".join(f"{rate:.2f}" for rate in summary["kl_per_dim"])
    return (
        f"\nloss {summary['final_loss']:.4f} = recon {summary['final_recon']:.4f} and kl "
        f"{summary['final_kl']:.4f} (last 100 steps); KL by latent dimension: {rates} nats\n"
        f"prior samples: {summary['sample_distance']:.3f} from the roll on average, "
        f"within 0.05 of {summary['sample_coverage']:.0%} of it\n"
        f"{summary['steps_per_second']:,.0f} steps/s, {summary['seconds']:.1f} s in all\n"
        f"figures and numbers: {settings.out}"
    )


if __name__ == "__main__":
    run(main, Settings)
