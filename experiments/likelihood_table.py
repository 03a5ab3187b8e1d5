"""Reproduce published test likelihoods: one row per model, with error bars over seeds."""

import dataclasses
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vae_jax as vj
from experiments.command import run
from experiments.published import ENTRIES, Entry
from vae_jax import product, replica, sweep
from vae_jax.checkpoint import read_json, write_atomic, write_json
from vae_jax.checks import check_count, check_positive
from vae_jax.data.images import Images, load_images
from vae_jax.devices import use_all_cores


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags."""

    data_dir: Path | None = None
    """Where MNIST and static binarised MNIST are, or are downloaded to."""
    rows: tuple[str, ...] = ()
    """Names of the rows to compute; all of them by default."""
    seeds: int = 2
    """Models of each row, trained side by side."""
    budget: float = 1.0
    """Share of the published number of epochs; learning-rate schedules are shortened with it."""
    max_samples: int = 5000
    """Importance samples per test image, where the protocol has more."""
    out: Path = Path("results/likelihood_table")
    """Folder of the table. Rows that it holds are not computed again."""


def main(settings: Settings) -> None:
    check_count("seeds", settings.seeds)
    check_positive("budget", settings.budget)
    check_count("max_samples", settings.max_samples, 2)
    chosen = settings.rows or tuple(ENTRIES)
    if unknown := [name for name in chosen if name not in ENTRIES]:
        raise ValueError(f"No row is named {', '.join(unknown)}; there are {', '.join(ENTRIES)}.")
    if settings.seeds > 1:
        use_all_cores()
    settings.out.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        entry = ENTRIES[name]
        slug = f"{name}-{epochs_of(entry, settings.budget)}epochs-{settings.seeds}seeds"
        path = settings.out / f"{slug}.json"
        if not path.is_file():
            print(f"{name}: {entry.title}, {epochs_of(entry, settings.budget)} epochs")
            images = load_images(entry.dataset, settings.data_dir)
            write_json(path, result_of(name, entry, images, settings, settings.out / slug))
        text = table(settings.out)
        write_atomic(settings.out / "table.md", text.encode())
    print(text)


def epochs_of(entry: Entry, budget: float) -> int:
    return max(1, round(entry.epochs * budget))


def result_of(
    name: str, entry: Entry, images: Images, settings: Settings, folder: Path
) -> dict[str, Any]:
    """What is kept of one row: everything that the table says of it."""
    train, test = entry.train_and_test(images)
    epochs = epochs_of(entry, settings.budget)
    steps = epochs * (len(train) // entry.batch_size)
    problem = entry.build(train, steps)
    started = time.perf_counter()
    trained = sweep(
        lambda: problem,
        product(seed=range(settings.seeds), learning_rate=[entry.learning_rate]),
        train,
        num_steps=steps,
        chunk_steps=max(1, min(steps // 20, 2000)),
        run_dir=folder,
        resume=(folder / "config.json").is_file(),
        settings={"row": name},
    )
    seconds = time.perf_counter() - started
    num_samples = min(entry.num_samples, settings.max_samples)
    found = [evaluate(trained, seed, test, num_samples) for seed in range(settings.seeds)]
    return {
        "name": name,
        "epochs": epochs,
        "whole": entry.epochs,
        "num_samples": num_samples,
        "seconds": round(seconds, 1),
        "seeds": found,
    }


def evaluate(trained: Any, seed: int, test: Any, num_samples: int) -> dict[str, float]:
    """NLL, its error from the samples, and active units, of one seed."""
    vae, params = replica(trained, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table has a column for it
        found = vj.log_marginal(
            vae, params, jax.random.key(1000 + seed), test, num_samples, progress=True
        )
    return {
        "nll": float(-found.log_prob.mean()),
        "sampling_error": float(np.sqrt(np.sum(found.standard_error**2)) / len(test)),
        "ess": float(np.median(found.ess)),
        "active_units": int(vj.active_units(vae, params, test).sum()),
    }


def table(folder: Path) -> str:
    """All rows that the folder holds, as markdown."""
    lines = [
        "| model | schedule | published | ours ± SE | samples, median ESS | active units | s |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    found = [read_json(path) for path in folder.glob("*.json")]
    order = list(ENTRIES)
    for result in sorted(found, key=lambda each: (order.index(each["name"]), each["epochs"])):
        lines.append(row(ENTRIES[result["name"]], result))
    note = (
        "NLL in nats on the 10,000 test images, mean over seeds ± standard error of that mean (one "
        "seed: of the importance sampling); seconds are those of training all seeds side by side, "
        "since the last start where a row was resumed."
    )
    return "\n".join([*lines, "", note, ""])


def row(entry: Entry, result: dict[str, Any]) -> str:
    seeds = result["seeds"]
    nll = np.array([each["nll"] for each in seeds])
    error = nll.std(ddof=1) / len(nll) ** 0.5 if len(nll) > 1 else seeds[0]["sampling_error"]
    short = result["epochs"] < result["whole"]
    schedule = f"{result['epochs']} of {result['whole']} epochs" if short else "whole"
    units = " ".join(str(each["active_units"]) for each in seeds)
    ess = np.median([each["ess"] for each in seeds])
    cells = [
        entry.title, schedule, entry.published,
        f"{nll.mean():.2f} ± {error:.2f} ({len(nll)} seed{'s' * (len(nll) > 1)})",
        f"{result['num_samples']:,}, {ess:.0f}", units, f"{result['seconds']:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    run(main, Settings)
