"""Runs that do not reach their end: nothing is lost, and going on changes nothing."""

import importlib
import signal

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import arrays, contents, csv_rows, run_fit

import vae_jax
from vae_jax.breakage import first_broken

KEEPER = importlib.import_module("vae_jax.keeper")


@pytest.fixture(scope="module")
def whole(tiny):
    """The run of 30 steps that nothing stopped."""
    return run_fit(tiny, 30)


def at_step(step, action):
    """An on_chunk that acts once `step` is reached."""
    return lambda state: action() if int(state.step) == step else None


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def press_ctrl_c_twice():
    press_ctrl_c()
    press_ctrl_c()


def assert_resumes_to(whole, tiny, folder):
    rest = run_fit(tiny, 30, run_dir=folder, resume=True)
    chex.assert_trees_all_equal(arrays(rest.state), arrays(whole.state))
    chex.assert_trees_all_equal(rest.metrics, whole.metrics)
    assert [int(row[0]) for row in csv_rows(folder / "metrics.csv")[1:]] == list(range(1, 31))


def test_ctrl_c_saves_and_the_rest_is_the_same_bits(tiny, whole, tmp_path):
    """The first Ctrl-C finishes the chunk, saves, says where it stands; the handler is restored."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(vae_jax.Interrupted, match=str(tmp_path)) as stopped:
        run_fit(tiny, 30, run_dir=tmp_path / "run", on_chunk=at_step(20, press_ctrl_c))
    assert stopped.value.step == 20
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    saved = vae_jax.load_run(tmp_path / "run")
    chex.assert_tree_all_finite(saved.params)
    assert_resumes_to(whole, tiny, tmp_path / "run")


def test_ctrl_c_without_a_folder_says_that_nothing_was_saved(tiny):
    """Interrupted tells where the run stood and that it is gone."""
    with pytest.raises(vae_jax.Interrupted, match="step 10, not saved"):
        run_fit(tiny, 30, on_chunk=at_step(10, press_ctrl_c))


@pytest.mark.parametrize("seconds", [-1.0, 1e9], ids=["saved each chunk", "never saved"])
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(
    tiny, whole, tmp_path, monkeypatch, seconds
):
    """A second Ctrl-C stops at once; rows of metrics.csv past the checkpoint are computed anew."""
    monkeypatch.setattr(KEEPER, "SAVE_SECONDS", seconds)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run_fit(tiny, 30, run_dir=tmp_path, on_chunk=at_step(20, press_ctrl_c_twice))
    assert not isinstance(stopped.value, vae_jax.Interrupted)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(csv_rows(tmp_path / "metrics.csv")) == 21
    assert (tmp_path / "checkpoint.safetensors").exists() == (seconds < 0)
    assert_resumes_to(whole, tiny, tmp_path)


@pytest.fixture(scope="module")
def poisoned(tiny):
    """tiny, with NaN data at its 26th step."""

    def batch_fn(data, rng, step):
        return jnp.where(step == 25, jnp.nan, tiny.batch_fn(data, rng, step))

    return tiny._replace(batch_fn=batch_fn)


def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_state(poisoned, whole, tmp_path):
    """FloatingPointError names step and term; the checkpoint is the state of the chunk before."""
    message = r"step 26: recon was the first term to break, with nan.*after step 20 is kept in"
    with pytest.raises(FloatingPointError, match=message):
        run_fit(poisoned, 30, run_dir=tmp_path)
    assert len(csv_rows(tmp_path / "metrics.csv")) == 21
    chex.assert_tree_all_finite(vae_jax.load_run(tmp_path).params)
    before = contents(tmp_path)
    with pytest.raises(FloatingPointError, match="step 26"):
        run_fit(poisoned, 30, run_dir=tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_what_broke_first_is_named():
    """Earliest step first, a term before the loss that is made of it, then the parameters."""
    fine = {"loss": np.ones(3), "recon": np.ones(3), "kl": np.ones(3)}
    params = {"decoder": {"out": np.array([1.0, 2.0])}}
    assert first_broken(fine, params, 10) is None
    late = {**fine, "loss": np.array([1, np.inf, np.nan]), "kl": np.array([1, np.inf, 1])}
    late["recon"] = np.array([1, 1, np.nan])
    assert "step 12: kl was the first term to break, with inf" in first_broken(late, params, 10)
    params["decoder"]["out"][1] = -np.inf
    assert "parameter decoder/out" in first_broken(fine, params, 10)
    assert "step 13" in first_broken(fine, params, 10)
