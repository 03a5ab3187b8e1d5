"""Files cut short, overwritten or flipped: refused by name, and left as they are."""

import chex
import jax
import pytest
from helpers import contents, run_fit

import vae_jax
from vae_jax import metrics_file
from vae_jax.checkpoint import load_tree

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.csv", "checkpoint.safetensors"


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
        b"step,loss\n1,\xff\n2,3\n",
    ],
)
def test_damaged_metrics_are_refused(tmp_path, content):
    """Two whole rows are asked for: ValueError naming the file, which stays as it is."""
    path = tmp_path / METRICS
    path.write_bytes(content)
    for read in (metrics_file.read_metrics, metrics_file.keep_metrics):
        with pytest.raises(ValueError, match=str(path)):
            read(tmp_path, 2)
    assert path.read_bytes() == content
