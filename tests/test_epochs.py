"""Training by epochs: what ends it, what is kept, and that stopping changes nothing."""

import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import make_tiny
from helpers import Tiny

import vae_jax
from vae_jax import epochs, schedules
from vae_jax.epoch_files import best_replica
from vae_jax.epochs import Epochs, train_epochs
from vae_jax.patience import Course, first_judged, verdict

VALIDATION = np.random.default_rng(5).normal(size=(13, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def problem() -> Tiny:
    return make_tiny()


def train(tiny: Tiny, seeds: tuple[int, ...] = (0, 1), num_epochs: int = 3, **options: Any) -> Any:
    course = options.pop("course", Course(num_epochs))
    given = {"batch_fn": tiny.batch_fn, "rows": 8, "course": course} | options
    loss_fn = given.pop("loss_fn", tiny.loss_fn)
    return train_epochs(tiny.vae, loss_fn, tiny.optimizer, tiny.data, VALIDATION, seeds, **given)


@pytest.fixture(scope="module")
def trained(problem: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Epochs]:
    """Three epochs of two seeds, and their folder: to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, train(problem, run_dir=folder)


def bound(tiny: Tiny, params: Any, rows: Any) -> Any:
    """The mean bound of 13 rows from batches of 8 and 5."""
    loss_fn, rng = jax.jit(tiny.loss_fn), jax.random.key(0)
    parts = [(0, rows[:8]), (1, rows[8:])]
    means = [loss_fn(params, jax.random.fold_in(rng, i), x, 1.0)[1]["bound"] for i, x in parts]
    return (8 * means[0] + 5 * means[1]) / 13


def equal(first: Any, second: Any) -> None:
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_epochs_are_steps_of_train_scan(problem: Tiny, trained: tuple[Path, Epochs]) -> None:
    """Replica r after E epochs is train_scan with seed r; the history holds its means by epoch."""
    history = trained[1].history
    for seed in (0, 1):
        rng_init, rng_run = jax.random.split(jax.random.key(seed))
        state = vae_jax.init_train_state(
            rng_init, problem.vae.init, problem.loss_fn, problem.optimizer
        )
        options = {"batch_fn": problem.batch_fn, "num_steps": 12}
        state, metrics = vae_jax.train_scan(state, rng_run, problem.data, 1.0, **options)
        for name in ("loss", "recon", "kl"):
            means = np.asarray(metrics[name]).reshape(3, 4).mean(axis=1)
            np.testing.assert_allclose(history[name][seed], means, rtol=1e-4)
        if trained[1].best[seed] == 3:
            kept = jax.tree.map(lambda leaf, seed=seed: leaf[seed], trained[1].params)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
                         kept, state.params)  # fmt: skip


def test_the_validation_bound_is_the_mean_over_all_rows(
    problem: Tiny, trained: tuple[Path, Epochs]
) -> None:
    """At the best epoch's parameters, 13 rows in batches of 8 and 5: their weighted mean."""
    found = trained[1]
    for seed, best in enumerate(found.best):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], found.params)
        expected = bound(problem, params, VALIDATION)
        np.testing.assert_allclose(found.history["validation"][seed, best - 1], expected, rtol=1e-5)
        assert best == 1 + np.argmax(found.history["validation"][seed])


def test_a_run_that_load_run_opens(trained: tuple[Path, Epochs]) -> None:
    """It has the best replica's best parameters; epochs.csv has a row for each epoch and seed."""
    folder, found = trained
    best = best_replica(found.history["validation"], found.best - 1)
    top = found.history["validation"].max()
    assert found.history["validation"][best].max() == top
    equal(vae_jax.load_run(folder).params, jax.tree.map(lambda leaf: leaf[best], found.params))
    lines = (folder / "epochs.csv").read_text().splitlines()
    assert lines[0] == "epoch,seed,loss,recon,kl,bound,validation"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [str(epoch), str(seed)] for epoch in (1, 2, 3) for seed in (0, 1)
    ]


@pytest.mark.parametrize("stop_after", [1, 3, 6, 12])
def test_resumed_to_the_same_bits(
    problem: Tiny, trained: tuple[Path, Epochs], tmp_path: Path, stop_after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ctrl-C in a chunk within an epoch, at its end or in the last one; then resume: everything,
    history included, as if it had never stopped."""
    monkeypatch.setattr(epochs, "CHUNK_STEPS", 1)
    calls = []

    def batch(chunk: Any) -> Any:
        def stopping(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == stop_after:
                signal.raise_signal(signal.SIGINT)
            return chunk(*arguments)

        return stopping

    monkeypatch.setattr(epochs, "_chunk", batch(epochs._chunk))
    folder = tmp_path / "run"
    with pytest.raises(vae_jax.Interrupted) as stopped:
        train(problem, run_dir=folder)
    assert stopped.value.step == stop_after
    resumed = train(problem, run_dir=folder, resume=True)
    assert len(calls) == 12
    monkeypatch.undo()
    whole = trained[1]
    equal(resumed.params, whole.params)
    np.testing.assert_array_equal(resumed.best, whole.best)
    for name, values in whole.history.items():
        np.testing.assert_allclose(resumed.history[name], values, rtol=1e-6)
    np.testing.assert_array_equal(resumed.history["validation"], whole.history["validation"])


def test_the_best_is_kept_and_patience_ends_the_run(problem: Tiny) -> None:
    """Trained on rows a hundred times nearer to 0, the noise shrinks and the bound on the others
    falls: each replica keeps its best and the run ends two epochs after the later of them."""
    narrow = problem._replace(data=problem.data / 100)
    found = train(narrow, course=Course(60, patience=2))
    bounds = found.history["validation"]
    assert bounds.shape[1] == found.best.max() + 2 < 60
    assert (found.history["loss"][:, -1] < found.history["loss"][:, 0]).all()
    for seed, best in enumerate(found.best):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], found.params)
        assert bounds[seed, best - 1] == bounds[seed, : best + 2].max()
        np.testing.assert_allclose(
            bound(problem, params, VALIDATION), bounds[seed, best - 1], rtol=1e-5
        )


def test_a_replica_does_not_depend_on_the_others(
    problem: Tiny, trained: tuple[Path, Epochs]
) -> None:
    """Seed 1 alone ends where it ends beside seed 0."""
    alone = train(problem, seeds=(1,))
    for a, b in zip(jax.tree.leaves(alone.params), jax.tree.leaves(trained[1].params), strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-5)
    assert alone.best[0] == trained[1].best[1]


def test_verdict() -> None:
    """By hand: best so far, patience from the first judged epoch on, not finite for good."""
    bounds = np.array(
        [[5.0, 4.0, 1.0, 2.0, 1.0, 1.0, 9.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
         [0.0, 1.0, np.nan, 3.0, 4.0, 5.0, 6.0]]
    )  # fmt: skip
    found = verdict(bounds[:, :5], judged=2, patience=2)
    assert found.best.tolist() == [3, 4, 1]
    assert found.active.tolist() == [True, True, False]
    found = verdict(bounds, judged=2, patience=2)
    assert found.best.tolist() == [3, 6, 1]
    assert found.active.tolist() == [False, True, False]
    assert verdict(bounds, judged=0, patience=None).best.tolist() == [6, 6, 1]
    assert verdict(bounds[:, :6], judged=0, patience=None).best.tolist() == [0, 5, 1]
    assert verdict(bounds[:, :2], judged=2, patience=1).active.all()


def test_patience_waits_for_the_warm_up() -> None:
    """The first judged epoch is the first at whose end beta is at its target for good."""
    half = {"schedule": schedules.linear_warmup, "numbers": (("warmup", 0.5),)}
    assert first_judged(Course(10), 4) == 0
    assert first_judged(Course(10, **half), 4) == 4
    assert first_judged(Course(1, **half), 4) == 0
    late = {"schedule": schedules.linear_warmup, "numbers": (("warmup", 5 / 16),)}
    assert first_judged(Course(4, **late), 4) == 1
    cyclical = {"schedule": schedules.cyclical, "numbers": (("cycles", 2.0), ("ramp", 0.5))}
    assert first_judged(Course(8, **cyclical), 10) == 5


def test_warm_up_reaches_the_loss(problem: Tiny) -> None:
    """In the first of two epochs beta climbs to 2 in steps of 1/2; in the second it is 2."""
    course = Course(2, 2.0, schedules.linear_warmup, (("warmup", 0.5),))

    def beta_loss(params: Any, rng: Any, x: Any, beta: Any) -> Any:
        loss, metrics = problem.loss_fn(params, rng, x, beta)
        return loss, metrics | {"beta": beta}

    found = train(problem, course=course, loss_fn=beta_loss)
    np.testing.assert_allclose(found.history["beta"], [[1.25, 2.0]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"course": Course(0)}, "num_epochs must be at least 1"),
        ({"course": Course(2, -1.0)}, "beta must be at least 0"),
        ({"course": Course(2, patience=0)}, "patience must be at least 1"),
        ({"course": Course(2, 1.0, schedules.linear_warmup, (("warmup", 2.0),))}, "ends at 0.5"),
        ({"seeds": ()}, "at least one seed"),
        ({"rows": 38}, "only 37 rows"),
        ({"resume": True}, "name the run_dir"),
    ],
)
def test_refused_before_training(problem: Tiny, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train(problem, **options)


def test_other_settings_are_not_resumed(problem: Tiny, trained: tuple[Path, Epochs]) -> None:
    """Another patience or other seeds are named."""
    with pytest.raises(ValueError, match="patience was None, is now 3"):
        train(problem, run_dir=trained[0], resume=True, course=Course(3, patience=3))
    with pytest.raises(ValueError, match="seeds was"):
        train(problem, run_dir=trained[0], resume=True, seeds=(0, 2))


def test_nothing_finite_is_an_error(problem: Tiny) -> None:
    """Every replica broken: FloatingPointError with the epoch."""
    with pytest.raises(FloatingPointError, match="in epoch 1"):
        train(problem._replace(data=problem.data * np.nan))
