"""Waits until all workers of a run have started.

In contrast to TensorFlow's own wait, this can be interrupted by signals, and has a time limit.
"""

import contextlib
import hashlib
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType

from drl_tf.base.errors import Interrupted
from drl_tf.distributed.cluster import Workers

_ALL_THERE = b'all are there\n'
_RETRY_SECONDS = 0.5
_GREETING_SECONDS = 5


def gather(workers: Workers, seconds: float) -> None:
    """Waits until all workers of a cluster have started.

    The chief (worker 0) listens at its address, and the other workers connect to it. Once all are connected,
    the chief tells them so, and all ports are freed. A worker that ended while waiting may be started again.

    Args:
      workers: the cluster, with the index of this worker.
      seconds: the time limit.

    Raises:
      OSError: the port of this worker is taken.
      TimeoutError: a worker is missing; the message names it.
    """
    end = time.monotonic() + seconds
    with listening(workers.addresses[workers.index]) as server:
        if workers.index:
            _report_to_chief(workers, end)
        else:
            _receive_others(workers, server, end)


def reached(address: str, seconds: float) -> socket.socket:
    """Connects to an address, and returns the socket.

    Args:
      address: 'host:port'.
      seconds: the time limit.

    Raises:
      OSError: the connection fails, or is not made in time.
    """
    host, _, port = address.rpartition(':')
    return socket.create_connection((host.strip('[]'), int(port)), timeout=seconds)


@contextlib.contextmanager
def interruptible(what: str) -> Iterator[None]:
    """Context manager: within the block, the signals SIGTERM and SIGINT raise `Interrupted`.

    Args:
      what: what the process waits for, such as 'the other workers'; the message of `Interrupted` names it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f'{signal.Signals(number).name} came while waiting for {what}', number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening(address: str) -> socket.socket:
    """Listens at the port of an address 'host:port', over IPv4 and, if possible, IPv6; returns the socket."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(('', int(address.rpartition(':')[2])), family=family, dualstack_ipv6=dual)


def greeting(workers: Workers, index: int) -> bytes:
    """Returns the 32 bytes that worker `index` of a cluster sends to identify itself to the chief."""
    return hashlib.sha256(repr((workers.addresses, workers.jobs, index)).encode()).digest()


def _report_to_chief(workers: Workers, end: float) -> None:
    """Connects to the chief, again and again, until the chief says that all workers are there."""
    last = None
    while time.monotonic() < end:
        try:
            with reached(workers.addresses[0], _left(end)) as connection:
                connection.sendall(greeting(workers, workers.index))
                connection.settimeout(_left(end))
                if connection.recv(len(_ALL_THERE), socket.MSG_WAITALL) == _ALL_THERE:
                    return
        except OSError as error:
            last = error
        time.sleep(min(_RETRY_SECONDS, _left(end)))
    reason = f': {last}' if last else ''
    raise TimeoutError(f'the chief at {workers.addresses[0]} has not called{reason}')


def _receive_others(workers: Workers, server: socket.socket, end: float) -> None:
    """Waits until all other workers are connected at the same time, and tells them so."""
    expected = {greeting(workers, index): index for index in range(1, workers.count)}
    there: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        while len(there) < len(expected):
            server.settimeout(_left(end))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError as error:
                missing = ', '.join(
                    workers.addresses[index] for index in expected.values() if index not in there
                )
                raise TimeoutError(f'nothing heard from {missing}') from error
            index = expected.get(_said(connection))
            if index is None:
                connection.close()
            else:
                there[index] = connection
            there = {index: connection for index, connection in there.items() if _is_open(connection)}
        for connection in there.values():
            connection.sendall(_ALL_THERE)
        for connection in there.values():  # The others close first, so that the chief's port is free at once.
            connection.settimeout(_GREETING_SECONDS)
            connection.recv(1)


def _said(connection: socket.socket) -> bytes:
    """Returns the greeting that a connection sends; fewer bytes if it does not come in time."""
    connection.settimeout(_GREETING_SECONDS)
    with contextlib.suppress(OSError):
        return connection.recv(hashlib.sha256().digest_size, socket.MSG_WAITALL)
    return b''


def _is_open(connection: socket.socket) -> bool:
    """Returns whether the worker at the other end is still connected."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_GREETING_SECONDS)


def _left(end: float) -> float:
    """Returns the seconds until `end`, at least 0.01."""
    return max(end - time.monotonic(), 0.01)
