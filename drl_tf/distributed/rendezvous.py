"""Waits until all workers of a run are there. TensorFlow's own rendezvous ignores signals, and the chief's
never times out."""

import contextlib
import hashlib
import signal
import socket
import time

from drl_tf.base.errors import Interrupted

_ALL_THERE = b'all are there\n'
_RETRY_SECONDS, _GREETING_SECONDS = 0.5, 5


def gather(workers, seconds):
    """Returns once all workers of a cluster are there.

    The chief listens at its address; the others connect to it and say who they are. Once all have, each is
    told. Whoever else connects, such as a probe, is sent away; a worker that ended while it waited may come
    again. All ports are free when it returns.

    Args:
      workers: a `cluster.Workers`.
      seconds: how long at most.

    Raises:
      OSError: the port of this worker cannot be had; `TimeoutError`, one of them, names who is missing.
    """
    end = time.monotonic() + seconds
    with listening(workers.addresses[workers.index]) as server:
        if workers.index:
            _report_to_chief(workers, end)
        else:
            _receive_others(workers, server, end)


def reached(address, seconds):
    """A connection to `host:port`, to be closed; raises OSError where there is none in time."""
    host, _, port = address.rpartition(':')
    return socket.create_connection((host.strip('[]'), int(port)), timeout=seconds)


@contextlib.contextmanager
def interruptible(what):
    """Has SIGTERM and SIGINT raise `Interrupted` within the block; afterwards they do what they did
    before."""

    def interrupt(number, frame):
        raise Interrupted(f'{signal.Signals(number).name} came while waiting for {what}', number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening(address):
    """A server at the port of `host:port`."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    return socket.create_server(('', int(address.rpartition(':')[2])), family=family, dualstack_ipv6=dual)


def greeting(workers, index):
    """What a worker says to the chief: which it is of which cluster, bytes of one length."""
    return hashlib.sha256(repr((workers.addresses, workers.jobs, index)).encode()).digest()


def _report_to_chief(workers, end):
    """Returns once the chief said that all are there; tries until it is reached."""
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
    raise TimeoutError(f'the chief at {workers.addresses[0]} has not called' + (f': {last}' if last else ''))


def _receive_others(workers, server, end):
    """Returns once all others are connected at the same time, and told so."""
    expected, there = {greeting(workers, index): index for index in range(1, workers.count)}, {}
    with contextlib.ExitStack() as stack:
        while len(there) < len(expected):
            server.settimeout(_left(end))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError as error:
                missing = ', '.join(
                    address for index, address in enumerate(workers.addresses) if index and index not in there
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
        for connection in there.values():  # They close first, so that nothing lingers at the chief's port.
            connection.settimeout(_GREETING_SECONDS)
            connection.recv(1)


def _said(connection):
    """The greeting on a connection, or less."""
    connection.settimeout(_GREETING_SECONDS)
    with contextlib.suppress(OSError):
        return connection.recv(hashlib.sha256().digest_size, socket.MSG_WAITALL)


def _is_open(connection):
    """Whether who waits at the other end is still there."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_GREETING_SECONDS)


def _left(end):
    """Seconds until the end, a little where it is over."""
    return max(end - time.monotonic(), 0.01)
