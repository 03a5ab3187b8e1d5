"""fit from a stream: the same bits as from an array, cut anywhere."""

import threading

import chex
import numpy as np
import pytest
from helpers import arrays, contents, run_fit
from test_stops import at_step, press_ctrl_c

import vae_jax


@pytest.fixture(scope="module")
def rows(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, np.asarray(tiny.data))
    return path


def stream(path):
    return vae_jax.stream_files(path, 8)


def test_a_stream_is_the_array_and_goes_on_in_the_middle_of_an_epoch(tiny, rows, tmp_path):
    """With all rows in one window the batches are array_batches'; 37 rows make epochs of 4 steps,
    so that step 15 is in the middle of one. The metrics are those of `fit` on the array."""
    whole = run_fit(tiny, 30, data=stream(rows), batch_fn=None)
    array = run_fit(tiny, 30)
    chex.assert_trees_all_close(whole.metrics, array.metrics, rtol=1e-5)
    options = {"data": stream(rows), "batch_fn": None, "run_dir": tmp_path}
    run_fit(tiny, 15, **options)
    rest = run_fit(tiny, 30, resume=True, **options)
    chex.assert_trees_all_equal(arrays(rest.state), arrays(whole.state))
    chex.assert_trees_all_equal(rest.metrics, whole.metrics)
    before = contents(tmp_path)
    again = run_fit(tiny, 30, resume=True, **options)
    chex.assert_trees_all_equal(arrays(again.state), arrays(whole.state))
    assert contents(tmp_path) == before


def test_ctrl_c_closes_the_stream(tiny, rows, tmp_path):
    """The reading thread ends with the run, and the run goes on from there."""
    options = {"data": stream(rows), "batch_fn": None, "run_dir": tmp_path}
    with pytest.raises(vae_jax.Interrupted):
        run_fit(tiny, 30, on_chunk=at_step(10, press_ctrl_c), **options)
    assert not [t for t in threading.enumerate() if "prefetch" in t.name]
    rest = run_fit(tiny, 30, resume=True, **options)
    assert int(rest.state.step) == 30


def test_a_generator_is_read_once(tiny):
    """No batch is taken to look at it: one pass serves checks, compiling and training."""
    batches = (np.full((8, 3), step, np.float32) for step in range(20))
    run = run_fit(tiny, 20, data=vae_jax.stream_batches(batches), batch_fn=None)
    assert int(run.state.step) == 20
    assert next(batches, None) is None


def test_what_a_stream_cannot_be_is_refused(tiny, rows):
    """Batches of another shape; a mesh; an array without batch_fn."""
    wide = vae_jax.stream_batches([np.ones((8, 5), np.float32)])
    with pytest.raises(ValueError, match=r"\(3,\)|shape"):
        run_fit(tiny, 5, data=wide, batch_fn=None)
    with pytest.raises(ValueError, match="train_stream"):
        run_fit(tiny, 5, data=stream(rows), batch_fn=None, mesh=vae_jax.make_mesh())
    with pytest.raises(ValueError, match=r"batch_fn, such as array_batches"):
        run_fit(tiny, 5, batch_fn=None)
