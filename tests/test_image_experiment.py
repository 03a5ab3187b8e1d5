"""The image experiment, end to end and tiny: what it leaves, what it says, what it refuses."""

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import vae_jax
from experiments import conv_benchmark, image_measures, images, latent_grid, reconstruction
from experiments.command import run
from experiments.image_settings import Settings
from experiments.image_task import batches, load_task, training_arrays, values
from experiments.mosaics import grid_of, mosaic

ALWAYS = ("reconstructions", "samples", "interpolation", "traversal", "latent_grid", "latent_space",
          "nearest", "loss", "active_units", "anomalies")  # fmt: skip
TINY = {"epochs": 2, "batch_size": 16, "samples": 3, "widths": (4,), "hidden": (8,),
        "latent_dim": 3}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick() -> Any:
    """Small fits of the priors."""
    patch = pytest.MonkeyPatch()
    patch.setattr(image_measures, "FLOW_STEPS", 100)
    flow = partial(image_measures.fit_flow, num_layers=1, hidden=(4,))
    patch.setattr(image_measures, "fit_flow", flow)
    patch.setattr(image_measures, "CODES", 100)
    patch.setattr(image_measures, "COMPONENTS", 2)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 grey images 5 x 6 of three classes: where the bright bar stands is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 60, (60, 5, 6)).astype(np.uint8)
    pixels[np.arange(60), :, 2 * labels] += 150
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, images=pixels, labels=labels)
    return path


@pytest.fixture(scope="module")
def conv(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a convolutional VAE with one class held out and most flags used."""
    folder = tmp_path_factory.mktemp("runs") / "conv"
    images.main(
        Settings(
            dataset=str(data),
            out=folder,
            hold_out=2,
            seeds=2,
            schedule="linear_warmup",
            patience=1,
            clip=1.0,
            **TINY,
        )
    )
    return folder


@pytest.fixture(scope="module")
def conditional(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense conditional VAE under another bound, over dequantised pixels; to save time without
    priors fitted to its codes."""
    folder = tmp_path_factory.mktemp("runs") / "conditional"
    patch = pytest.MonkeyPatch()
    patch.setattr(image_measures, "fit_samplers", lambda v, p, *others: {"prior": (v, p)})
    images.main(
        Settings(
            dataset=str(data),
            out=folder,
            conditional=True,
            model="mlp",
            likelihood="normal",
            objective="iwae(num_samples=2)",
            prior="mixture_of_normals(num_components=2)",
            decay="none",
            **TINY,
        )
    )
    patch.undo()
    return folder


@pytest.mark.parametrize("name", ["conv", pytest.param("conditional", marks=pytest.mark.slow)])
def test_every_figure_is_there(name: str, request: pytest.FixtureRequest) -> None:
    """PNGs of at most 800 pixels; samples by class where there are conditions."""
    folder = request.getfixturevalue(name)
    wanted = [*ALWAYS, *(["samples_by_class"] if name == "conditional" else [])]
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(wanted)
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert 300 < picture.width <= 800
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_report_has_the_numbers(conv: Path) -> None:
    """NLL with its error, bits/dim, ESS, active units, gap, priors, AUROC, time, settings."""
    text, numbers = (
        (conv / "report.md").read_text(),
        json.loads((conv / "summary.json").read_text()),
    )
    assert f"{numbers['nll']:.2f} ± {numbers['nll_error']:.2f}" in text
    assert f"{numbers['bits_per_dim']:.4f}" in text
    np.testing.assert_allclose(numbers["bits_per_dim"], numbers["nll"] / (30 * np.log(2)))
    np.testing.assert_allclose(numbers["gap"], numbers["rate"] - numbers["information"])
    assert f"{numbers['auroc']['nll']:.3f} by -log p(x)" in text
    assert "| mixture |" in text
    assert "| flow |" in text
    assert "- patience: 1" in text
    assert "probabilities of the 256 levels" in text
    assert len(numbers["validation_bounds"]) == 2
    assert numbers["best_seed"] == int(np.argmax(numbers["validation_bounds"]))


@pytest.mark.slow
def test_the_report_of_a_density(conditional: Path) -> None:
    """bits/dim of dequantised pixels have the correction of the 256 levels."""
    other = json.loads((conditional / "summary.json").read_text())
    corrected = (other["nll"] + 30 * np.log(256)) / (30 * np.log(2))
    np.testing.assert_allclose(other["bits_per_dim"], corrected)
    assert "auroc" not in other
    assert "dequantised" in (conditional / "report.md").read_text()


def test_the_numbers_are_those_of_the_saved_run(conv: Path) -> None:
    """NLL, AUROC and error again, from the run that load_run opens."""
    run = vae_jax.load_run(conv)
    numbers = json.loads((conv / "summary.json").read_text())
    task = load_task(Settings(dataset=run.config["settings"]["dataset"], hold_out=2))
    assert (task.train[1] != 2).all()
    assert (task.validation[1] != 2).all()
    assert (task.test[1] == 2).sum() == 2
    x = values(task, task.test, 1)
    rng = jax.random.split(jax.random.key(0), 4)[0]
    found = image_measures.log_marginal(run.vae, run.params, rng, x, 3)[0]
    known = task.test[1] != 2
    np.testing.assert_allclose(numbers["nll"], -found.log_prob[known].mean(), rtol=1e-5)
    above = (-found.log_prob[~known])[:, None] > (-found.log_prob[known])[None]
    np.testing.assert_allclose(numbers["auroc"]["nll"], above.mean())


def test_finished_runs_resume_to_the_same(conv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resume of a finished run trains nothing and goes on with the same parameters."""
    config = json.loads((conv / "config.json").read_text())["settings"]
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    seen: list[Any] = []

    def measure(vae: Any, params: Any, *others: Any) -> Any:
        seen.append(params)
        raise LookupError

    monkeypatch.setattr(images, "measure", measure)
    monkeypatch.setattr(images, "say", lambda settings: pytest.fail)
    with pytest.raises(LookupError):
        images.main(Settings(**config, out=conv, resume=True, samples=3))
    saved = jax.tree.leaves(vae_jax.load_run(conv).params)
    for a, b in zip(jax.tree.leaves(seen[0]), saved, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["conv", pytest.param("conditional", marks=pytest.mark.slow)])
def test_saved_runs_are_drawn_again(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """reconstruction and latent_grid open image runs."""
    folder = request.getfixturevalue(name)
    reconstruction.main(reconstruction.Settings(folder, out=tmp_path / "pairs.png"))
    latent_grid.main(latent_grid.Settings(folder, size=3, out=tmp_path / "grid.png", label=1))
    assert "6 images" in capsys.readouterr().out
    assert (tmp_path / "pairs.png").stat().st_size > 1000
    assert (tmp_path / "grid.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="at most 40"):
        latent_grid.main(latent_grid.Settings(folder, size=50))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset", "mnits"], "did you mean mnist"),
        (["--likelihood", "bernouli"], "did you mean bernoulli"),
        (["--objective", "iwea"], "did you mean iwae"),
        (["--prior", "vampprior"], "did you mean vamp_prior"),
        (["--posterior", "coupling"], "did you mean coupling_flow"),
        (["--activation", "rleu"], "There is no activation"),
        (["--latent-dim", "0"], "latent_dim must be at least 1"),
        (["--form", "bits"], "grey levels"),
        (["--likelihood", "discretized_logistic", "--form", "dequantized"], "levels"),
        (["--hold-out", "12"], "no class 12"),
        (["--hold-out", "1", "--conditional"], "--conditional"),
        (["--batch-size", "5000"], "rows"),
        (["--learning-rate", "0"], "learning_rate must be above 0"),
        (["--clip", "-1"], "clip must be above 0"),
        (["--beta", "-1"], "beta must be at least 0"),
        (["--seeds", "0"], "seeds must be at least 1"),
        (["--resume"], "missing"),
    ],
)
def test_wrong_flags_are_one_line(
    flags: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit code 2 and one line on stderr that says what to do; nothing is written."""
    monkeypatch.setattr(sys, "argv", ["images", "--out", str(tmp_path / "run"), *flags])
    with pytest.raises(SystemExit) as stopped:
        run(images.main, Settings)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", [{"conditional": True}, {"hold_out": 1}])
def test_labels_that_are_missing(flag: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "plain.npy"
    np.save(path, np.zeros((20, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="needs class labels"):
        load_task(Settings(dataset=str(path), likelihood="bernoulli", **flag))


def test_forms_and_what_they_mean(data: Path, tmp_path: Path) -> None:
    """Each likelihood has a form over which it is one; another one is no density."""
    grey = str(data)
    kinds = {
        "bernoulli": ("binarized", "bits"),
        "normal(std=0.1)": ("dequantized", "density"),
        "beta_binomial": ("scaled", "levels"),
        "squared_error": ("scaled", "no density"),
    }
    for likelihood, found in kinds.items():
        task = load_task(Settings(dataset=grey, likelihood=likelihood))
        assert (task.form, task.kind) == found
    assert load_task(Settings(dataset=grey, likelihood="bernoulli", form="scaled")).kind == (
        "no density"
    )
    np.save(tmp_path / "bits.npy", np.eye(4, dtype=np.uint8)[None].repeat(20, 0))
    bits = Settings(dataset=str(tmp_path / "bits.npy"), likelihood="bernoulli")
    assert load_task(bits).form == "bits"
    with pytest.raises(ValueError, match="holds bits"):
        load_task(Settings(dataset=bits.dataset))


def test_images_of_another_shape_than_the_runs(conv: Path) -> None:
    """Grey images to a VAE of three channels, and back: the shape that is needed."""
    vae = vae_jax.load_run(conv).vae
    with pytest.raises(ValueError, match=r"this VAE needs \[B, 5, 6, 1\]"):
        vae_jax.reconstruct(vae, {}, np.zeros((2, 5, 6, 3), np.float32))


def test_images_keep_their_labels(data: Path) -> None:
    """In every batch of a conditional run the condition is the class that the bar shows."""
    task = load_task(Settings(dataset=str(data), conditional=True, model="mlp"))
    batch_fn = jax.jit(batches(task, 9))
    for step in (0, 3, 7):
        x, condition = batch_fn(training_arrays(task), jax.random.key(0), step)
        columns = np.asarray(x).reshape(9, 5, 6).mean(axis=1)[:, ::2]
        np.testing.assert_array_equal(columns.argmax(axis=1), np.asarray(condition).argmax(axis=1))
        assert condition.shape == (9, 3)
    parts = [task.train[0], task.validation[0], task.test[0]]
    assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts), axis=0)) == 60


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_the_convolutional_benchmark_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A table with every contestant; sizes that PyTorch would change are refused."""
    small = {"shape": (8, 8, 1), "widths": (2,), "batch_size": 4, "steps": 1, "repeats": 1}
    conv_benchmark.main(conv_benchmark.Settings(**small))
    line = capsys.readouterr().out.splitlines()[4]
    assert "–" not in line.split("(")[0]
    with pytest.raises(ValueError, match="divisible by 2"):
        conv_benchmark.main(conv_benchmark.Settings(**small | {"shape": (9, 8, 1)}))


def test_auroc() -> None:
    """The share of pairs in order, ties counting half."""
    scores = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    anomalous = np.array([False, True, False, False, True])
    assert image_measures.auroc(scores, anomalous) == (1.5 + 3) / 6


def test_mosaic_places_every_picture() -> None:
    """Picture (r, c) lies at row r, column c, with a white line between."""
    pictures = np.arange(6).reshape(2, 3, 1, 1, 1) / 10 * np.ones((1, 1, 2, 2, 1))
    found = mosaic(pictures)
    assert found.shape == (5, 8, 3)
    np.testing.assert_allclose(found[3, 7], 0.5)
    np.testing.assert_allclose(found[0, 3], 0.1)
    np.testing.assert_allclose(found[2], 1.0)
    np.testing.assert_allclose(grid_of(np.zeros((5, 1, 1, 1)), 3)[1, 2], 1.0)
