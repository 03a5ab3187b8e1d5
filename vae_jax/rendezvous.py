"""How processes meet before jax's own start: whoever stays away is named, with the address.

Process 0 listens; the others tell it their number and wait until all have come. jax starts its
service on the same port right after.
"""

import contextlib
import socket
import time

PAUSE, GREETING_SECONDS = 0.1, 2.0
GO, REFUSED, GREETING = b"go", b"refused: ", "vae_jax"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port".

    Raises:
        ValueError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"The coordinator's address must be host:port, such as node1:1234, got {address!r}."
        )
    return host.strip("[]"), int(port)


def meet(address: str, count: int, number: int, timeout: float) -> None:
    """Returns once all `count` processes are there.

    Raises:
        TimeoutError: they were not within `timeout` seconds; names the address and who is missing.
        ValueError: two processes claim one number, or another number of processes.
        OSError: process 0 cannot listen at the port.
    """
    if count > 1:
        deadline = time.monotonic() + timeout
        (_call if number else _listen)(address, count, number, timeout, deadline)


def _listen(address: str, count: int, number: int, timeout: float, deadline: float) -> None:
    present: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(address))
        while len(present) < count - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                guest, _ = server.accept()
            except TimeoutError:
                missing = [str(i) for i in range(1, count) if i not in present]
                raise TimeoutError(
                    f"Of {count} processes, {', '.join(missing)} did not reach the coordinator "
                    f"{address} within {timeout:g} s."
                ) from None
            stack.enter_context(guest)
            _greet(guest, count, present)
        for guest in present.values():
            with contextlib.suppress(OSError):
                guest.sendall(GO)


def _greet(guest: socket.socket, count: int, present: dict[int, socket.socket]) -> None:
    """Enters the caller into `present`, or tells it why not; ignores callers of another kind."""
    guest.settimeout(GREETING_SECONDS)
    try:
        words = guest.recv(64).decode(errors="replace").split()
        if len(words) != 3 or words[0] != GREETING:
            return
        number, told = int(words[1]), int(words[2])
        if told != count:
            guest.sendall(REFUSED + f"process 0 expects {count} processes, not {told}".encode())
        elif number in present:
            guest.sendall(REFUSED + f"there is a process {number} already".encode())
        else:
            present[number] = guest
    except (OSError, ValueError):
        return


def _call(address: str, count: int, number: int, timeout: float, deadline: float) -> None:
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(split_address(address), timeout=left) as server:
                server.sendall(f"{GREETING} {number} {count}".encode())
                server.settimeout(max(0.01, deadline - time.monotonic()))
                answer = server.recv(200)
        except OSError as error:
            reason = str(error)
            time.sleep(PAUSE)
            continue
        if answer == GO:
            return
        if answer.startswith(REFUSED):
            raise ValueError(f"The coordinator {address} {answer.decode(errors='replace')}.")
        time.sleep(PAUSE)
    raise TimeoutError(
        f"Process {number} could not reach its coordinator at {address} within {timeout:g} s "
        f"({reason}): is process 0 running there, and is the port open?"
    )


def _server(address: str) -> socket.socket:
    _, port = split_address(address)
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise type(error)(f"Process 0 cannot listen at {address}: {error}") from error
