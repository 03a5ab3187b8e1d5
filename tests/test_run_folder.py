"""The files of a run: what they give back, and what is refused without losing anything."""

import shutil

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, contents, csv_rows, run_fit, tiny_vae
from tables import affine, affine_encoder

import vae_jax
from vae_jax import run_folder
from vae_jax.checkpoint import load_tree

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.csv", "checkpoint.safetensors"


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_fit(tiny, 20, run_dir=folder, settings={"rate": 0.01})


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run that a test may damage."""
    return shutil.copytree(finished[0], tmp_path / "run")


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
    assert (config["beta"], config["num_steps"]) == (1.0, 20)
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
    with pytest.raises(ValueError, match=r"decoder/hidden_0/\w+ as float32") as error:
        vae_jax.load_run(copied, wider)
    assert str(copied / CHECKPOINT) in str(error.value)
    deeper = tiny_vae(decoder=vae_jax.MLPDecoder(3, (4, 4)))
    with pytest.raises(ValueError, match="does not hold params/decoder/hidden_1"):
        vae_jax.load_run(copied, deeper)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused(copied, tiny, keep):
    """ValueError naming the file, whatever is left of it; no file changes."""
    path = copied / CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    before = contents(copied)
    with pytest.raises(ValueError, match=str(path)):
        vae_jax.load_run(copied)
    if keep == 100:
        with pytest.raises(ValueError, match=str(path)):
            run_fit(tiny, 30, run_dir=copied, resume=True, settings={"rate": 0.01})
    assert contents(copied) == before


def damaged(path, load, stride):
    """For every file with one byte of `path` flipped: what `load` returns, or its error's text.

    Only a ValueError counts as an answer.
    """
    content, answers = path.read_bytes(), []
    for place in range(0, len(content), stride):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            answers.append(load(path.parent))
        except ValueError as error:
            answers.append(str(error))
    return answers


def test_no_flipped_byte_of_a_checkpoint_passes_for_parameters(copied, finished):
    """A damaged file raises ValueError naming it; if it loads, the parameters are right."""
    wanted = {"params": jax.device_get(finished[1].state.params)}
    path = copied / CHECKPOINT
    for answer in damaged(path, lambda folder: load_tree(path, wanted), 5):
        if isinstance(answer, str):
            assert str(path) in answer
        else:
            chex.assert_trees_all_equal(answer, wanted)


def test_every_flipped_byte_of_a_config_is_read_or_refused_by_name(copied):
    """A damaged config.json is still of use, or gives a ValueError naming the run."""
    answers = damaged(copied / CONFIG, vae_jax.load_run, 5)
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert refused
    assert all(str(copied) in answer for answer in refused)


@pytest.mark.parametrize(
    "settings",
    [
        {"a": {"b": {"c": 1}}, "none": None, "text": "x"},
        {"tuple": (1, 2)},
        pytest.param({"nested": ((1, 2), [(3,)])}),
        pytest.param({1: 2}),
    ],
)
def test_settings_are_the_same_after_json(tmp_path, settings):
    """What was saved is not refused as changed on resuming; what was changed is."""
    run_folder.create(tmp_path / "run", {"vae": {}, "settings": settings})
    run_folder.check_same(tmp_path / "run", {"vae": {}, "settings": settings})
    with pytest.raises(ValueError, match=r"settings\.new was None, is now 1"):
        run_folder.check_same(tmp_path / "run", {"vae": {}, "settings": {**settings, "new": 1}})


def test_settings_that_json_cannot_hold_are_refused_before_anything_moves(copied):
    """TypeError or ValueError; the older run is where it was."""
    before = contents(copied)
    with pytest.raises((TypeError, ValueError)):
        run_folder.create(copied, {"settings": {"folder": copied}})
    assert contents(copied) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[1, 2]", "expected a JSON object"),
        (b"{}", "format None"),
        (b'{"format": 99}', "format 99"),
        (b'{"format": "1"}', "format '1'"),
        (b'{"format": 1}', "does not describe a VAE"),
        (b'{"format": 1, "vae": {}}', "lacks encoder"),
    ],
)
def test_a_damaged_config_is_refused(copied, content, message):
    """ValueError with the reason; no file changes."""
    (copied / CONFIG).write_bytes(content)
    before = contents(copied)
    with pytest.raises(ValueError, match=message):
        vae_jax.load_run(copied)
    assert contents(copied) == before


def test_missing_files_are_named(copied):
    """No folder, no config or no checkpoint: FileNotFoundError naming it."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        vae_jax.load_run(copied / "nowhere")
    (copied / CHECKPOINT).unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        vae_jax.load_run(copied)
    (copied / CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        vae_jax.load_run(copied)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"step,loss\n1,2\n",
        b"step,loss\n1,2\n2,abc\n",
        b"step,loss\n1,2\n2\n",
        b"loss,kl\n1,2\n1,2\n",
        b'"step,loss\n1,2\n2,3\n',
        pytest.param(b"step,loss\n1,\xff\n2,3\n"),
    ],
)
def test_damaged_metrics_are_refused(tmp_path, content):
    """Two whole rows are asked for: ValueError naming the file, which stays as it is."""
    path = tmp_path / METRICS
    path.write_bytes(content)
    for read in (run_folder.read_metrics, run_folder.keep_metrics):
        with pytest.raises(ValueError, match=str(path)):
            read(tmp_path, 2)
    assert path.read_bytes() == content


def test_metrics_past_the_checkpoint_are_cut(tmp_path):
    """keep_metrics keeps the rows that the checkpoint knows of, half a line after them is cut."""
    run_folder.append_metrics(tmp_path, 1, {"loss": np.float32([0.1, 0.2])})
    run_folder.append_metrics(tmp_path, 3, {"loss": np.float32([0.3])})
    whole = (tmp_path / METRICS).read_bytes()
    (tmp_path / METRICS).write_bytes(whole + b"4,0.")
    kept = run_folder.keep_metrics(tmp_path, 2)
    np.testing.assert_array_equal(kept["loss"], np.float32([0.1, 0.2]))
    assert csv_rows(tmp_path / METRICS)[1:] == [["1", "0.100000001"], ["2", "0.200000003"]]
    with pytest.raises(FileNotFoundError, match=METRICS):
        run_folder.read_metrics(tmp_path / "nowhere")


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
