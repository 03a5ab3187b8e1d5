"""Checkpoints: the last two are kept, a damaged one is passed over, a disk may fail for a while."""

import builtins
import errno
import shutil
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from helpers import arrays, contents, csv_rows, run_fit

import vae_jax
from vae_jax import checkpoint, keeper, metrics_file, run_folder, snapshots
from vae_jax.checkpoint import load_arrays

GOLDEN = Path(__file__).parent / "golden"
NEWEST, OLDER = "checkpoint.safetensors", "checkpoint.1.safetensors"


@pytest.fixture
def two(tiny, tmp_path, monkeypatch):
    """A run of 20 steps with two checkpoints, of steps 10 and 20."""
    run_fit(tiny, 10, run_dir=tmp_path / "run")
    run_fit(tiny, 20, run_dir=tmp_path / "run", resume=True)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tiny):
    return run_fit(tiny, 30)


def step_of(path):
    return int(load_arrays(path)["step"])


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_the_last_two_are_kept(two, tiny):
    """NAME is the newest, NAME.1 the one before; older ones go, and nothing else is left."""
    assert (step_of(two / NEWEST), step_of(two / OLDER)) == (20, 10)
    run_fit(tiny, 30, run_dir=two, resume=True)
    assert (step_of(two / NEWEST), step_of(two / OLDER)) == (30, 20)
    assert sorted(contents(two)) == [OLDER, NEWEST, "config.json", "metrics.csv"]


@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_newest_checkpoint_is_passed_over(two, tiny, whole, harm):
    """A warning names it, the one before is used, and the run ends in the same bits."""
    harm(two / NEWEST)
    gone = not (two / NEWEST).exists()
    if gone:
        run = vae_jax.load_run(two)
    else:
        with pytest.warns(RuntimeWarning, match=f"{two / NEWEST} is damaged.*Used .*{OLDER}"):
            run = vae_jax.load_run(two)
    assert run.params["decoder"]["layers"]
    with pytest.warns() if not gone else pytest.MonkeyPatch.context():
        rest = run_fit(tiny, 30, run_dir=two, resume=True)
    chex.assert_trees_all_equal(arrays(rest.state), arrays(whole.state))
    chex.assert_trees_all_equal(rest.metrics, whole.metrics)
    assert (step_of(two / NEWEST), step_of(two / OLDER)) == (
        30,
        10,
    )


def test_with_both_damaged_the_newest_is_named(two, tiny):
    """ValueError, and no file changes."""
    flip(two / NEWEST)
    flip(two / OLDER)
    before = contents(two)
    with pytest.raises(ValueError, match=f"{two / NEWEST} is damaged"):
        run_fit(tiny, 30, run_dir=two, resume=True)
    assert contents(two) == before


def test_a_file_system_without_hard_links_keeps_two_as_well(tmp_path, monkeypatch):
    """Where os.link fails the newest is renamed."""

    def refuse(*arguments):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(snapshots.os, "link", refuse)
    for value in range(3):
        snapshots.save_kept(tmp_path / "a.x", {"step": np.int32(value)})
    assert (step_of(tmp_path / "a.x"), step_of(tmp_path / "a.1.x")) == (2, 1)
    assert len(contents(tmp_path)) == 2


def test_more_than_two_can_be_kept(tmp_path, monkeypatch):
    """Each becomes the one before."""
    monkeypatch.setattr(snapshots, "KEPT", 3)
    for value in range(5):
        snapshots.save_kept(tmp_path / "a.x", {"step": np.int32(value)})
    names = ("a.x", "a.1.x", "a.2.x")
    assert [step_of(tmp_path / name) for name in names] == [4, 3, 2]


def test_a_run_of_format_1_loads_and_goes_on(tiny, whole, tmp_path):
    """Written by an earlier version of the package, and kept as it was; it becomes format 2."""
    folder = shutil.copytree(GOLDEN / "format-1", tmp_path / "run")
    assert run_folder.read_config(folder)["format"] == 1
    params = vae_jax.load_run(folder).params
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, whole.state.params)
    rest = run_fit(tiny, 30, run_dir=folder, resume=True, settings={"rate": 0.01})
    chex.assert_trees_all_close(rest.metrics, whole.metrics, rtol=1e-3, atol=1e-4)
    assert run_folder.read_config(folder)["format"] == run_folder.FORMAT
    assert step_of(folder / OLDER) == 15


def test_other_data_are_refused_on_resuming(two, tiny):
    """config.json holds a fingerprint: one changed number is another run."""
    data = tiny.data.at[3, 1].add(1e-6)
    with pytest.raises(ValueError, match=r"data was [0-9a-f]+, is now"):
        run_fit(tiny, 30, data=data, run_dir=two, resume=True)


class Disk:
    """A disk that fails: `full` makes every write to a file raise ENOSPC."""

    def __init__(self, monkeypatch, error=errno.ENOSPC):
        self.full, self.error = False, error
        for module in (checkpoint, metrics_file):
            monkeypatch.setattr(module, "open", self.open, raising=False)

    def open(self, path, mode="r", **options):
        if self.full and mode != "r":
            with builtins.open(path, mode, **options) as file:
                file.seek(0, 2)
                file.write(b"half" * 5000)
            raise OSError(self.error, "No space left on device")
        return builtins.open(path, mode, **options)


class AtOnce:
    """A pool that has done its job when it takes it, so that tests know what is written when."""

    def __init__(self, **options):
        pass

    def submit(self, job, *arguments):
        future = Future()
        try:
            future.set_result(job(*arguments))
        except OSError as error:
            future.set_exception(error)
        return future

    def shutdown(self):
        pass


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(keeper, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "ThreadPoolExecutor", AtOnce)
    return Disk(monkeypatch)


def test_a_full_disk_that_is_freed_costs_nothing(tiny, whole, tmp_path, disk):
    """Full from step 10 to 20: a warning names the folder, the run goes on, all of it is saved."""

    def at(state):
        disk.full = int(state.step) == 10

    with pytest.warns(RuntimeWarning, match=f"Could not write to {tmp_path}.*No space"):
        run = run_fit(tiny, 30, run_dir=tmp_path / "run", chunk_steps=5, on_chunk=at)
    chex.assert_trees_all_equal(arrays(run.state), arrays(whole.state))
    saved = vae_jax.load_run(tmp_path / "run")
    chex.assert_trees_all_equal(saved.params, jax.device_get(whole.state.params))
    assert [row[0] for row in csv_rows(tmp_path / "run" / "metrics.csv")[1:]] == [
        str(step) for step in range(1, 31)
    ]


def test_a_disk_that_stays_full_keeps_the_last_good_checkpoint(tiny, whole, tmp_path, disk):
    """NotSaved at the end names the file and has the state; a later resume goes on."""

    def at(state):
        disk.full = int(state.step) >= 20

    message = f"after step 30 .*{tmp_path}.*No space.*/metrics.csv.*checkpoint there.*step 20"
    with pytest.raises(vae_jax.NotSaved, match=message) as error, pytest.warns(RuntimeWarning):
        run_fit(tiny, 30, run_dir=tmp_path, on_chunk=at)
    chex.assert_trees_all_equal(arrays(error.value.state), arrays(whole.state))
    disk.full = False
    assert step_of(tmp_path / NEWEST) == 20
    rest = run_fit(tiny, 30, run_dir=tmp_path, resume=True)
    chex.assert_trees_all_equal(arrays(rest.state), arrays(whole.state))
    chex.assert_trees_all_equal(rest.metrics, whole.metrics)


def test_files_that_are_removed_during_the_run_are_written_anew(tiny, whole, tmp_path, disk):
    """metrics.csv, config.json and the checkpoint: a warning names what is gone."""

    def at(state):
        if int(state.step) == 20:
            for path in tmp_path.iterdir():
                path.unlink()

    with pytest.warns(RuntimeWarning, match="removed") as said:
        run_fit(tiny, 30, run_dir=tmp_path, on_chunk=at)
    text = " ".join(str(warning.message) for warning in said)
    assert "metrics.csv" in text
    assert "config.json" in text
    saved = vae_jax.load_run(tmp_path)
    chex.assert_trees_all_equal(saved.params, jax.device_get(whole.state.params))
    chex.assert_trees_all_equal(metrics_file.read_metrics(tmp_path), whole.metrics)


def test_rows_that_come_before_the_thread_begins_are_not_in_the_checkpoints_checksum(
    tiny, tmp_path, monkeypatch
):
    """A checkpoint after step 10 is one of 10 rows, though the thread writes it after step 20."""
    begin, write = threading.Event(), keeper.Keeper._write

    def late(self, *arguments):
        begin.wait(10.0)
        write(self, *arguments)

    monkeypatch.setattr(keeper, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(keeper.Keeper, "_write", late)

    def on_chunk(state):
        if int(state.step) == 20:
            begin.set()
            time.sleep(0.5)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_fit(tiny, 30, run_dir=tmp_path / "run", on_chunk=on_chunk)
    rest = run_fit(tiny, 30, run_dir=tmp_path / "run", resume=True)
    assert int(rest.state.step) == 30
