"""One process in a run folder; what a dead one left is taken over."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import contents, run_fit

from vae_jax import lock
from vae_jax.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from vae_jax.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def another(folder):
    """A process that holds `folder`; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline().strip() == b"held"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_is_refused_and_a_killed_one_is_succeeded(tiny, tmp_path, capsys):
    """The refusal names host and pid, and changes nothing; after SIGKILL its lock is taken over."""
    with another(tmp_path) as process:
        before = contents(tmp_path)
        for options in ({}, {"resume": True}):
            with pytest.raises(
                (BlockingIOError, FileNotFoundError),
                match=f"process {process.pid} on {socket.gethostname()}|not a run folder",
            ):
                run_fit(tiny, 10, run_dir=tmp_path, **options)
        assert contents(tmp_path) == before
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / LOCK).exists()
        run_fit(tiny, 10, run_dir=tmp_path)
        assert f"left by process {process.pid}" in capsys.readouterr().out
    assert LOCK not in contents(tmp_path)


def test_the_same_process_cannot_have_it_twice(tiny, tmp_path):
    """Two fits in one program, in one folder: the second is refused."""
    refused = []

    def again(state):
        with pytest.raises(BlockingIOError, match=str(os.getpid())) as error:
            run_fit(tiny, 10, run_dir=tmp_path / "run")
        refused.append(error)

    run_fit(tiny, 10, run_dir=tmp_path / "run", on_chunk=again)
    assert refused
    run_fit(tiny, 10, run_dir=tmp_path / "run")
    assert LOCK not in contents(tmp_path / "run.1")


DEAD = 2**22 + 1
"""No process has this number: it is above the largest there can be."""


@pytest.mark.parametrize(
    ("text", "flock", "stale"),
    [
        ({"pid": DEAD}, None, True),
        ({"boot": "another"}, None, True),
        ({"pid": os.getppid()}, None, False),
        ({"pid": os.getppid()}, True, True),
        ({"host": "elsewhere"}, True, False),
        ({"host": "elsewhere"}, None, False),
    ],
)
def test_what_counts_as_stale(tmp_path, monkeypatch, capsys, text, flock, stale):
    """Of this host: what the system's lock says, else pid and boot. Of another: never."""
    monkeypatch.setattr(lock, "_flock", lambda descriptor: flock)
    (tmp_path / LOCK).write_text(json.dumps(lock._self() | text))
    if stale:
        with locked(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        assert "taken over" in capsys.readouterr().out
    else:
        refused = pytest.raises(BlockingIOError, match="is in use by process")
        with refused as error, locked(tmp_path):
            pass
        assert (str(tmp_path / LOCK) in str(error.value)) == ("host" in text)


def test_half_a_lock_file_is_no_lock(tmp_path):
    """A process that died while it wrote the file left nothing that makes sense."""
    (tmp_path / LOCK).write_text('{"host": "el')
    began = time.monotonic()
    with locked(tmp_path):
        pass
    assert contents(tmp_path) == {}
    assert time.monotonic() - began < 5
