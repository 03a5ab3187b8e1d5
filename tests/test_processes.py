"""Several processes are one program: how they meet, and that they find what one process finds."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from vae_jax import processes, rendezvous
from vae_jax.processes import initialize

PROGRAM = Path(__file__).with_name("two_processes.py")
ROOT = Path(__file__).parents[1]


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def start(folder, fate, devices, *place):
    """The program as a process with this many CPU devices."""
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, PROGRAM, folder, fate, *place]
    with open(folder / f"log{'-'.join(map(str, place[1:]))}", "a") as log:
        return subprocess.Popen(
            [*map(str, command)], env=environment, cwd=ROOT, stdout=log, stderr=log
        )


def log(folder):
    return "\n".join(path.read_text()[-3000:] for path in folder.glob("log*"))


def run_pair(folder, fate):
    """Two processes with two devices each, to their end, or to that of the second one."""
    port = free_port()
    pair = [start(folder, fate, 2, port, number, 2) for number in (0, 1)]
    try:
        assert pair[1].wait(timeout=240) == (0 if fate == "live" else 9), log(folder)
        if fate == "live":
            assert pair[0].wait(timeout=60) == 0, log(folder)
    finally:  # the other one waits for a sign of life
        for process in pair:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The folders of one process with four devices, and of two with two."""
    folder = tmp_path_factory.mktemp("processes")
    one, two = folder / "one", folder / "two"
    alone = start(one, "live", 4)
    run_pair(two, "live")
    assert alone.wait(timeout=240) == 0, log(one)
    return one, two


def assert_same_results(one, two):
    """Sweeps agree to the bit, data-parallel runs, whose sums have another order, to 1e-4."""
    for name, number in itertools.product(("sweep", "run"), (0, 1)):
        with np.load(one / f"{name}0.npz") as alone, np.load(two / f"{name}{number}.npz") as both:
            for key in alone.files:
                if name == "sweep":
                    np.testing.assert_array_equal(both[key], alone[key], err_msg=key)
                else:
                    np.testing.assert_allclose(both[key], alone[key], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(found):
    """Two processes of two devices train the sweep and the run of one process of four."""
    assert_same_results(*found)


@pytest.mark.slow
def test_killed_processes_go_on_where_they_were(found, tmp_path):
    """One of two processes is killed in the sweep; both start again; one is killed in the
    data-parallel run; both start again, and end as if nothing had been."""
    folder = tmp_path / "killed"
    for fate in ("sweep", "fit", "live"):
        run_pair(folder, fate)
    assert_same_results(found[0], folder)
    for name in ("sweep0", "sweep1", "run0", "run1"):
        with np.load(found[1] / f"{name}.npz") as whole, np.load(folder / f"{name}.npz") as parts:
            for key in whole.files:
                np.testing.assert_array_equal(parts[key], whole[key], err_msg=key)


@pytest.mark.slow
def test_only_the_first_process_writes(found):
    """Each row of metrics.csv is there once, and nothing temporary was left."""
    _, two = found
    rows = (two / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", *map(str, range(1, 31))]
    names = {path.name.replace(".1.", ".") for path in two.glob("*/*")}
    assert names == {
        "checkpoint.safetensors", "config.json", "group-000.safetensors", "metrics.csv",
    }  # fmt: skip


def test_a_coordinator_that_is_not_there_is_named():
    """TimeoutError with the address, within the time given."""
    port = free_port()
    with pytest.raises(TimeoutError, match=rf"localhost:{port} within 0\.3 s"):
        initialize(f"localhost:{port}", 2, 1, timeout=0.3)


def test_the_coordinator_names_who_stays_away():
    """Process 0 of 3 waits for 1 and 2; 2 comes, 1 does not."""
    address, errors = f"localhost:{free_port()}", []

    def call():
        try:
            rendezvous.meet(address, 3, 2, 1.0)
        except TimeoutError as error:
            errors.append(str(error))

    guest = threading.Thread(target=call)
    guest.start()
    with pytest.raises(TimeoutError, match=rf"Of 3 processes, 1 did not reach.*{address}"):
        rendezvous.meet(address, 3, 0, 1.0)
    guest.join()
    assert address in errors[0]


def test_all_meet_and_strangers_are_ignored():
    """Processes 0, 1 and 2 meet, though something else looks at the port before."""
    port = free_port()
    address, ended = f"localhost:{port}", []

    def take_part(number):
        rendezvous.meet(address, 3, number, 20.0)
        ended.append(number)

    threads = [threading.Thread(target=take_part, args=(number,)) for number in (0, 1, 2)]
    threads[0].start()
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port)) as call:
            call.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.parametrize(("number", "count", "words"), [(1, 3, "expects 2"), (1, 2, "already")])
def test_a_process_that_does_not_belong_is_refused(number, count, words):
    """Another number of processes, or a number that is taken: ValueError, and the rest meet."""
    address = f"localhost:{free_port()}"
    present = {} if count == 3 else {1: None}
    with rendezvous._server(address) as server:

        def greet():
            guest, _ = server.accept()
            with guest:
                rendezvous._greet(guest, 2, present)

        host = threading.Thread(target=greet)
        host.start()
        with pytest.raises(ValueError, match=words):
            rendezvous.meet(address, count, number, 5.0)
        host.join()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("node1:1234", 2, None), "process_id is missing"),
        ((None, 2, 0), "coordinator is missing"),
        (("node1", 2, 0), "host:port"),
        (("node1:99999", 2, 0), "host:port"),
        (("node1:1234", 2, 2), "below num_processes 2"),
        (("node1:1234", 0, 0), "num_processes must be at least 1"),
        (("node1:1234", 2, -1), "process_id must be at least 0"),
    ],
)
def test_wrong_places_are_refused(arguments, message):
    """ValueError before anything is connected."""
    with pytest.raises(ValueError, match=message):
        initialize(*arguments)


SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "node[03-04],gpu1", "SLURM_NTASKS": "4",
         "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_NODES": "2"}  # fmt: skip
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
            "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2",
            "OMPI_COMM_WORLD_LOCAL_RANK": "0"}  # fmt: skip
KUBEFLOW = {"JAX_COORDINATOR_ADDRESS": "job-node-0-0.job:6666", "JAX_NUM_PROCESSES": "4",
            "JAX_PROCESS_ID": "2"}  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "host"), [(SLURM, "node03"), (OPEN_MPI, "10.96.0.1"), (KUBEFLOW, "job-node-0-0")]
)
def test_cluster_managers_are_detected(variables, host, monkeypatch):
    """Process 2 of 4 goes to the first node: seen in the variables that the manager sets."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address, count, number, _ = processes._detect(1.0)
    assert address.startswith(host)
    assert (count, number) == (4, 2)


def test_no_cluster_is_said_so(monkeypatch):
    """ValueError with what to give."""
    with pytest.raises(ValueError, match="No cluster manager was found"):
        initialize(timeout=1.0)
    for name, value in (KUBEFLOW | {"JAX_NUM_PROCESSES": "four"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES must be a whole number"):
        initialize(timeout=1.0)
