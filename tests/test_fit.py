"""A run on the host: its files, and going on where it stood."""

import functools
import importlib
import threading

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, contents, csv_rows, run_fit

import vae_jax
from vae_jax.metrics_file import read_metrics

FIT = importlib.import_module("vae_jax.fit")


def assert_same_end(one, other):
    """Two runs ended in the same bits, with the same history."""
    chex.assert_trees_all_equal(arrays(one.state), arrays(other.state))
    assert list(one.metrics) == list(other.metrics)
    chex.assert_trees_all_equal(one.metrics, other.metrics)


@pytest.mark.usefixtures("optimised")
def test_a_run_cut_in_two_ends_in_the_same_bits(own_tiny, tmp_path):
    """1000 steps in chunks of 200 = 405 in chunks of 135, then the rest, bit for bit.

    The same holds of every file: config.json, metrics.csv, checkpoint.safetensors; the cut run
    keeps the checkpoint of its cut beside them.
    """
    settings = {"rate": 0.01, "layers": (4, 4)}
    whole = run_fit(own_tiny, 1000, run_dir=tmp_path / "whole", settings=settings, chunk_steps=200)
    cut = {"run_dir": tmp_path / "cut", "settings": settings}
    run_fit(own_tiny, 405, chunk_steps=135, **cut)
    rest = run_fit(own_tiny, 1000, chunk_steps=200, resume=True, **cut)
    assert_same_end(rest, whole)
    files = contents(tmp_path / "cut")
    assert files.pop("checkpoint.1.safetensors") != files["checkpoint.safetensors"]
    assert files == contents(tmp_path / "whole")


def test_fit_is_train_scan_with_a_named_split_of_the_key(tiny, finished):
    """rng_init makes the state, rng_run drives train_scan: fit adds nothing of its own."""
    rng_init, rng_run = jax.random.split(jax.random.key(3))
    state = vae_jax.init_train_state(rng_init, tiny.vae.init, tiny.loss_fn, tiny.optimizer)
    options = {"batch_fn": tiny.batch_fn, "num_steps": 25}
    state, metrics = vae_jax.train_scan(state, rng_run, tiny.data, 1.0, **options)
    _, run = finished
    chex.assert_trees_all_close(arrays(run.state), arrays(state), rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(run.metrics, dict(metrics), rtol=1e-4, atol=1e-5)


def test_metrics_csv_holds_every_step_to_the_last_digit(finished):
    """metrics.csv: step and terms for steps 1 .. T, which read back as the same float32."""
    folder, run = finished
    rows = csv_rows(folder / "metrics.csv")
    assert rows[0] == ["step", "loss", "recon", "kl", "bound"]
    assert [int(row[0]) for row in rows[1:]] == list(range(1, 26))
    chex.assert_trees_all_equal(read_metrics(folder), run.metrics)
    np.testing.assert_array_equal(np.float32([row[1] for row in rows[1:]]), run.metrics["loss"])


def test_without_a_folder_nothing_is_written(tiny, finished, tmp_path, monkeypatch):
    """run_dir=None trains the same VAE and leaves no file."""
    monkeypatch.chdir(tmp_path)
    assert_same_end(run_fit(tiny, 25), finished[1])
    assert contents(tmp_path) == {}


def test_on_chunk_sees_the_state_before_the_first_step_and_after_every_chunk(tiny, capsys):
    """on_chunk at steps 0, 10, 20, 25; the progress bar shows the terms."""
    steps = []
    run = run_fit(tiny, 25, on_chunk=lambda state: steps.append(int(state.step)), progress=True)
    assert steps == [0, 10, 20, 25]
    assert int(run.state.step) == 25
    assert run.seconds > 0
    assert "loss" in capsys.readouterr().out


def test_a_finished_run_resumes_to_itself(tiny, finished):
    """Resuming at num_steps takes no step and changes no file."""
    folder, run = finished
    before = contents(folder)
    options = {"run_dir": folder, "resume": True, "settings": {"rate": 0.01}}
    assert_same_end(run_fit(tiny, 25, **options), run)
    assert contents(folder) == before
    with pytest.raises(ValueError, match="stands at step 25"):
        run_fit(tiny, 24, **options)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 0.5}, r"beta was 1.0, is now 0.5"),
        ({"settings": {"rate": 0.02}}, r"settings.rate was 0.01, is now 0.02"),
        ({"settings": {}}, r"settings.rate was 0.01, is now None"),
        ({"settings": {"rate": 0.01, "new": "a"}}, r"settings.new was None, is now a"),
        ({"rng": jax.random.key(4)}, r"rng was \[0, 3\], is now \[0, 4\]"),
    ],
)
def test_resuming_with_other_settings_is_refused(tiny, finished, changed, message):
    """The error names what differs, with both values; the folder stays as it is."""
    folder, _ = finished
    before = contents(folder)
    options = {"run_dir": folder, "resume": True, "settings": {"rate": 0.01}}
    with pytest.raises(ValueError, match=message):
        run_fit(tiny, 30, **{**options, **changed})
    assert contents(folder) == before


def test_resuming_with_another_objective_or_vae_is_refused(tiny, finished):
    """The objective's name and the VAE's text belong to the settings."""
    options = {"run_dir": finished[0], "resume": True, "settings": {"rate": 0.01}}
    with pytest.raises(ValueError, match="objective was make_elbo, is now make_teaching"):
        run_fit(tiny, 30, loss_fn=vae_jax.make_teaching(tiny.vae), **options)
    other = vae_jax.build_vae(
        tiny.vae.encoder,
        tiny.vae.decoder,
        likelihood=vae_jax.normal(std=0.1),
        prior=tiny.vae.prior,
        data_shape=(3,),
    )
    with pytest.raises(ValueError, match=r"vae.likelihood was normal\(\), is now normal\(std=0.1"):
        run_fit(tiny, 30, vae=other, loss_fn=vae_jax.make_elbo(other), **options)


def test_a_loss_may_be_any_callable(tiny, finished):
    """functools.partial has no name of its own, and is as good a loss as any."""
    loss_fn = functools.partial(tiny.loss_fn)
    assert_same_end(run_fit(tiny, 25, loss_fn=loss_fn), finished[1])


def test_resuming_needs_a_run(tiny, tmp_path):
    """No run_dir: ValueError. A folder that is missing or no run: FileNotFoundError naming it."""
    with pytest.raises(ValueError, match="run_dir"):
        run_fit(tiny, 5, resume=True)
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(folder)):
            run_fit(tiny, 5, resume=True, run_dir=folder)
    assert contents(tmp_path) == {}


def test_fit_runs_outside_the_main_thread(tiny, finished):
    """Only the main thread may handle signals: elsewhere fit leaves them alone."""
    runs = []
    thread = threading.Thread(target=lambda: runs.append(run_fit(tiny, 25)))
    thread.start()
    thread.join()
    assert_same_end(runs[0], finished[1])
