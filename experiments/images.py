"""Train VAEs on images; draw what they learned, and say it in numbers.

Leaves pictures, report.md and a run that `reconstruction` and `latent_grid` open in --out.
"""

import time
from typing import Any

import jax
import numpy as np
import optax

from experiments import image_report, images_figures
from experiments.command import run
from experiments.image_measures import measure
from experiments.image_pictures import pictures
from experiments.image_settings import Settings
from experiments.image_task import (
    batches,
    build,
    check_values,
    load_task,
    make_loss,
    training_arrays,
    values,
)
from vae_jax.checkpoint import save_arrays, write_atomic, write_json
from vae_jax.checks import check_count, check_positive, check_seed
from vae_jax.devices import use_all_cores
from vae_jax.epoch_files import best_replica
from vae_jax.epochs import train_epochs
from vae_jax.patience import Course
from vae_jax.schedules import SCHEDULES


def optimizer(settings: Settings, total: int) -> optax.GradientTransformation:
    """Adam as the flags want it, over `total` steps."""
    rate: Any = check_positive("learning_rate", settings.learning_rate)
    if settings.decay == "cosine":
        rate = optax.cosine_decay_schedule(rate, total, alpha=0.01)
    if settings.clip is None:
        return optax.adam(rate)
    norm = check_positive("clip", settings.clip)
    return optax.chain(optax.clip_by_global_norm(norm), optax.adam(rate))


def say(settings: Settings) -> Any:
    """An `on_epoch` that prints a line."""

    def line(epoch: int, row: dict[str, Any], rate: float) -> None:
        best = int(np.argmax(np.nan_to_num(row["validation"], nan=-np.inf)))
        numbers = "  ".join(f"{name} {row[name][best]:.2f}" for name in ("recon", "kl"))
        print(
            f"epoch {epoch:>3}/{settings.epochs}  {numbers}  validation bound "
            f"{row['validation'][best]:.2f}  {rate:,.0f} images/s",
            flush=True,
        )

    return line


def main(settings: Settings) -> None:
    started = time.perf_counter()
    check_seed(settings.seed), check_count("seeds", settings.seeds)
    check_count("samples", settings.samples, 2), check_count("test_images", settings.test_images)
    check_count("batch_size", settings.batch_size), check_count("epochs", settings.epochs)
    if settings.seeds > 1:
        use_all_cores()
    task = load_task(settings)
    vae = build(settings, task)
    check_values(vae, task)
    print(image_report.data_line(task, settings))
    steps = max(1, len(task.train[0]) // settings.batch_size) * settings.epochs
    found = train_epochs(
        vae, make_loss(settings, vae), optimizer(settings, steps), training_arrays(task),
        values(task, task.validation), range(settings.seed, settings.seed + settings.seeds),
        batch_fn=batches(task, settings.batch_size), rows=settings.batch_size,
        course=Course(
            settings.epochs, settings.beta, SCHEDULES[settings.schedule],
            patience=settings.patience,
        ),
        run_dir=settings.out, resume=settings.resume, settings=settings.kept(),
        on_epoch=say(settings),
    )  # fmt: skip
    trained = time.perf_counter() - started
    best = best_replica(found.history["validation"], found.best - 1)
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)[best]), found.params)
    print("log p(x), priors fitted to the codes, pictures ...", flush=True)
    measured = measure(vae, params, task, settings)
    arrays = pictures(vae, params, task, measured, settings)
    arrays |= {f"history_{name}": values for name, values in found.history.items()}
    save_arrays(settings.out / "arrays.npz", arrays)
    images_figures.draw_all(settings.out)
    numbers = measured.numbers | {
        "best_seed": settings.seed + best,
        "best_epochs": [int(epoch) for epoch in found.best],
        "validation_bounds": [float(found.history["validation"][r, epoch - 1])
                              for r, epoch in enumerate(found.best)],
        "epochs": int(found.history["validation"].shape[1]),
        "images_per_second": found.images_per_second,
        "seconds_training": trained,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
    write_json(settings.out / "summary.json", numbers)
    text = image_report.report(vae, task, settings, numbers)
    write_atomic(settings.out / "report.md", text.encode())
    print(text)


if __name__ == "__main__":
    run(main, Settings)
