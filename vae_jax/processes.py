"""One program over several processes: how they find each other, agree, and who writes.

Every process runs the same program on the same table or data. Arrays live on the devices of all of
them; files are written by the first alone and may be read by every one.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vae_jax.checks import check_count, check_positive
from vae_jax.rendezvous import meet, split_address

MESSAGE_BYTES = 2_000
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
Result = TypeVar("Result")


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: float = 60.0,
) -> None:
    """Joins this process to the others, so that `jax.devices()` are those of all of them.

    Give `coordinator` ("host:port" of process 0), `num_processes` and `process_id`, or none of
    them under SLURM, Open MPI, Kubernetes or Kubeflow, where jax finds them. To be called before
    anything is computed.

    Raises:
        TypeError, ValueError: numbers or an address that cannot be, or nothing to be found.
        TimeoutError: process 0 was not reached, or not reached by all, within `timeout` seconds.
    """
    check_positive("timeout", timeout)
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    devices = None
    if len(missing) == 3:
        coordinator, num_processes, process_id, devices = _detect(timeout)
    elif missing:
        raise ValueError(
            f"{', '.join(missing)} is missing: give the coordinator, the number of processes and "
            f"this process's id, or none of the three where a cluster manager knows them."
        )
    address, count = str(coordinator), check_count("num_processes", num_processes)
    split_address(address)
    number = check_count("process_id", process_id, 0)
    if number >= count:
        raise ValueError(f"process_id must be below num_processes {count}, got {number}.")
    meet(address, count, number, timeout)
    # jax's own client ends the process, past all handlers, when its time is over: so we have met.
    jax.distributed.initialize(
        address, count, number, local_device_ids=devices,
        cluster_detection_method="deactivate", initialization_timeout=max(10, int(timeout)),
    )  # fmt: skip


def _detect(timeout: float) -> tuple[str, int, int, Any]:
    """Address, number of processes, id and local devices: from the three variables of Kubeflow's
    JAX runtime where they are set, else as jax's cluster detection has them."""
    address, count, number = (os.environ.get(name) for name in VARIABLES)
    if address and count and number:
        return address, _whole(VARIABLES[1], count), _whole(VARIABLES[2], number), None
    from jax._src.clusters import ClusterEnv  # initialize() hides the address until it is too late

    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(timeout)
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(f"The cluster manager did not say where the others are: {error}") from None
    if None in found[:3]:
        raise ValueError(
            "No cluster manager was found (SLURM, Open MPI, Kubernetes, Kubeflow): give the "
            "coordinator's address, the number of processes and this process's id."
        )
    return str(found[0]), int(found[1] or 0), int(found[2] or 0), found[3]


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"The environment variable {name} must be a whole number, is {text!r}.")
    return int(text)


def is_first() -> bool:
    """Whether this is the process that writes; with one process it always is."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints on the first process."""
    if is_first():
        print(text, flush=True)


def gather(tree: Any) -> Any:
    """The tree's arrays, whole, as numpy arrays on every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def any_process(*flags: bool) -> list[bool]:
    """For each flag whether it is set on any process; all processes get the same answer."""
    if jax.process_count() == 1:
        return [bool(flag) for flag in flags]
    everyone = multihost_utils.process_allgather(np.array(flags, np.int32))
    flat = np.asarray(everyone).reshape(-1, len(flags))
    return [bool(flat[:, index].any()) for index in range(len(flags))]


def any_signal(number: int, known: tuple[int, ...]) -> int:
    """The first signal of `known` that any process has had, or 0; `number` is this one's, or 0."""
    flags = any_process(*(number == each for each in known))
    return next((each for each, flag in zip(known, flags, strict=True) if flag), 0)


def least(value: int) -> int:
    """The smallest of the processes' values."""
    if jax.process_count() == 1:
        return value
    # As floats: integers of 64 bits are cut to 32 on the way.
    return int(np.min(multihost_utils.process_allgather(np.array(value, np.float32))))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within it the loss of another process is an error in words.

    Raises:
        ConnectionError: another process has ended, or this one cannot go on without it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise ConnectionError(
            f"This process cannot go on, most likely since another one of the job has ended: start "
            f"all of them again, and resume. ({str(error).splitlines()[0]})"
        ) from error


def on_first(action: Callable[[], object]) -> None:
    """Calls `action` on the first process, while the others wait; its error is everyone's error.

    Raises:
        TypeError, ValueError, OSError: what `action` raised.
    """
    if jax.process_count() == 1:
        action()
        return
    message, raised = "", None
    if is_first():
        try:
            action()
        except (TypeError, ValueError, OSError) as error:
            message, raised = str(error) or type(error).__name__, error
    text = message.encode()[:MESSAGE_BYTES]
    shared = np.zeros(MESSAGE_BYTES, np.uint8)
    shared[: len(text)] = np.frombuffer(text, np.uint8)
    heard = bytes(np.asarray(multihost_utils.broadcast_one_to_all(shared))).rstrip(b"\0")
    if raised is not None:
        raise raised
    if heard:
        raise ValueError(f"The first process said: {heard.decode(errors='replace')}")
