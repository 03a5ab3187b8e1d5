"""The folder of a run: what it gives back, and what it does not overwrite."""

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, contents, csv_rows, run_fit, tiny_vae
from tables import affine, affine_encoder

import vae_jax
from vae_jax import metrics_file, run_folder

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.csv", "checkpoint.safetensors"


def test_a_run_loads_as_it_was(finished, tiny):
    """load_run gives back the VAE, its parameters and the settings."""
    folder, run = finished
    vae, params, config = vae_jax.load_run(folder)
    chex.assert_trees_all_equal(params, jax.device_get(run.state.params))
    assert [vae_jax.to_text(getattr(vae, part)) for part in ("encoder", "decoder")] == [
        vae_jax.to_text(tiny.vae.encoder),
        vae_jax.to_text(tiny.vae.decoder),
    ]
    x = np.asarray(tiny.data[:4])
    found = vae_jax.reconstruct(vae, params, x)
    np.testing.assert_array_equal(found, vae_jax.reconstruct(tiny.vae, run.state.params, x))
    assert (config["beta"], config["num_steps"]) == (1.0, 25)
    assert (config["objective"], config["settings"]) == ("make_elbo", {"rate": 0.01})
    assert vae_jax.load_run(str(folder)).config == config


def test_networks_of_your_own_are_loaded_by_passing_the_vae(tiny, tmp_path):
    """No text describes them: load_run(path) says so, load_run(path, vae) loads."""
    vae = tiny_vae(encoder=affine_encoder(2), decoder=affine(3))
    run = run_fit(tiny, 5, vae=vae, loss_fn=vae_jax.make_elbo(vae), run_dir=tmp_path / "own")
    with pytest.raises(ValueError, match=r"encoder and decoder.*vae=") as error:
        vae_jax.load_run(tmp_path / "own")
    assert "load_run" in str(error.value)
    loaded = vae_jax.load_run(tmp_path / "own", vae)
    chex.assert_trees_all_equal(loaded.params, jax.device_get(run.state.params))
    assert loaded.vae is vae


def test_a_checkpoint_of_another_model_is_refused(copied):
    """Other shapes or other parts: ValueError naming the file and the array."""
    wider = tiny_vae(decoder=vae_jax.MLPDecoder(3, (5,)))
    with pytest.raises(ValueError, match=r"decoder/layers/hidden_0/\w+ as float32") as error:
        vae_jax.load_run(copied, wider)
    assert str(copied / CHECKPOINT) in str(error.value)
    deeper = tiny_vae(decoder=vae_jax.MLPDecoder(3, (4, 4)))
    with pytest.raises(ValueError, match="does not hold params/decoder/layers/hidden_1"):
        vae_jax.load_run(copied, deeper)


@pytest.mark.parametrize(
    "settings",
    [
        {"a": {"b": {"c": 1}}, "none": None, "text": "x"},
        {"tuple": (1, 2)},
        {"nested": ((1, 2), [(3,)])},
        {1: 2},
        {"rate": float("nan")},
    ],
)
def test_settings_are_the_same_after_json(tmp_path, settings):
    """What was saved is not refused as changed on resuming; what was changed is."""
    run_folder.create(tmp_path / "run", {"vae": {}, "settings": settings})
    run_folder.check_same(tmp_path / "run", {"vae": {}, "settings": settings})
    with pytest.raises(ValueError, match=r"settings\.new was None, is now 1"):
        run_folder.check_same(tmp_path / "run", {"vae": {}, "settings": {**settings, "new": 1}})


def test_only_the_versions_of_the_libraries_may_differ(tmp_path):
    """config["versions"] is not compared; a setting of that name is one like any other."""
    run_folder.create(tmp_path / "run", {"vae": {}, "settings": {"versions": {"data": 1}}})
    with pytest.raises(ValueError, match=r"settings\.versions\.data was 1, is now 2"):
        run_folder.check_same(tmp_path / "run", {"vae": {}, "settings": {"versions": {"data": 2}}})


def test_settings_that_json_cannot_hold_are_refused_before_anything_moves(copied):
    """TypeError or ValueError; the older run is where it was."""
    before = contents(copied)
    with pytest.raises((TypeError, ValueError)):
        run_folder.create(copied, {"settings": {"folder": copied}})
    assert contents(copied) == before


def test_metrics_past_the_checkpoint_are_cut(tmp_path):
    """keep_metrics keeps the rows that the checkpoint knows of, half a line after them is cut."""
    metrics_file.append_metrics(tmp_path, 1, {"loss": np.float32([0.1, 0.2])})
    metrics_file.append_metrics(tmp_path, 3, {"loss": np.float32([0.3])})
    whole = (tmp_path / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(whole + b"4,0.")
    kept = metrics_file.keep_metrics(tmp_path, 2)
    np.testing.assert_array_equal(kept["loss"], np.float32([0.1, 0.2]))
    assert csv_rows(tmp_path / METRICS)[1:] == [["1", "0.100000001"], ["2", "0.200000003"]]
    with pytest.raises(FileNotFoundError, match=METRICS):
        metrics_file.read_metrics(tmp_path / "nowhere")


def test_an_older_run_is_moved_aside(copied, tiny):
    """A new run where an older one is: the older one keeps every byte under another name."""
    before = contents(copied)
    run_fit(tiny, 10, run_dir=copied)
    assert contents(copied.with_name("run.1")) == before
    assert len(csv_rows(copied / METRICS)) == 11
    assert run_folder.create(copied, {}) == copied.with_name("run.2")
    assert contents(copied.with_name("run.1")) == before


def test_a_folder_with_other_files_is_refused(tiny, tmp_path):
    """Files that are no run: ValueError, and they are still there; a file is no folder either."""
    (tmp_path / "thesis.txt").write_text("three years")
    for path in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ValueError, match=str(path)):
            run_fit(tiny, 10, run_dir=path)
    assert contents(tmp_path) == {"thesis.txt": b"three years"}


def test_a_folder_that_cannot_be_written_is_named(tiny, tmp_path):
    """Below a regular file there is no folder: OSError naming the one asked for."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write the run folder") as error:
        run_fit(tiny, 10, run_dir=tmp_path / "file" / "run")
    assert str(tmp_path / "file" / "run") in str(error.value)
    assert arrays(run_fit(tiny, 10).state)[2] == 10
