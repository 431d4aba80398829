"""Workers that wait for each other: all at once, in any order, again after an end; strangers; who does not
come; a taken port."""

import concurrent.futures
import contextlib
import socket
import time

import pytest
from helpers.tiny import refused

from drl_tf.distributed import devices, rendezvous
from drl_tf.distributed.cluster import Workers


@pytest.fixture
def clusters():
    """The `Workers` of each of three processes on free ports."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(('localhost', 0))) for _ in range(3)]
        addresses = tuple(f'localhost:{server.getsockname()[1]}' for server in servers)
    return [Workers(addresses, index, (('worker', 3),)) for index in range(3)]


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor() as threads:
        yield threads


def comes(workers, index=1):
    """A connection on which a worker has said who it is, once the chief is there."""
    for _ in range(400):
        with contextlib.suppress(OSError):
            connection = rendezvous.reached(workers.addresses[0], 20)
            connection.sendall(rendezvous.greeting(workers, index))
            return connection
        time.sleep(0.05)
    raise AssertionError('the chief does not listen')


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_all_are_there(clusters, pool, order):
    """Nobody returns before all have come; then each can serve its port again at once."""
    waiting = [pool.submit(rendezvous.gather, clusters[index], 60) for index in order[:2]]
    assert not concurrent.futures.wait(waiting, 1).done
    waiting.append(pool.submit(rendezvous.gather, clusters[order[2]], 60))
    assert [each.result(60) for each in waiting] == [None] * 3
    for workers in clusters:
        rendezvous.listening(workers.addresses[workers.index]).close()


def test_one_that_ended_comes_again_and_strangers_are_sent_away(clusters, pool):
    chief = pool.submit(rendezvous.gather, clusters[0], 60)
    comes(clusters[0], 1).close()
    strange = comes(clusters[0], 7)
    other = Workers(clusters[0].addresses[:2], 1, (('worker', 2),))
    of_another_cluster = comes(other, 1)
    assert strange.recv(1) == of_another_cluster.recv(1) == b''
    second = pool.submit(rendezvous.gather, clusters[2], 60)
    assert not concurrent.futures.wait([chief, second], 1).done
    rendezvous.gather(clusters[1], 60)
    assert chief.result(60) is second.result(60) is None


def test_who_does_not_come_is_named(clusters, pool):
    waiting = pool.submit(rendezvous.gather, clusters[0], 1.5)
    with (
        comes(clusters[0], 1),
        pytest.raises(TimeoutError, match=f'nothing heard from {clusters[0].addresses[2]}$'),
    ):
        waiting.result(60)
    with pytest.raises(
        TimeoutError, match=f'the chief at {clusters[0].addresses[0]} has not called: .*refused'
    ):
        rendezvous.gather(clusters[1], 0.3)


@pytest.mark.parametrize('index', [0, 1])
def test_a_worker_alone_gives_up(capsys, monkeypatch, tmp_path, clusters, index):
    """One line and the exit code after which a JobSet starts all again; the same where its port is taken."""
    monkeypatch.setattr(devices, 'GATHERING_SECONDS', 0.3)
    monkeypatch.setattr(devices.cluster, 'workers', lambda: clusters[index])
    options = ['--dataset=digits', f'--workdir={tmp_path}/w']
    missing = (
        'nothing heard from' if index == 0 else f'the chief at {clusters[0].addresses[0]} has not called'
    )
    line = refused(capsys, *options, code=4)
    assert f'worker {index} ({clusters[0].addresses[index]}) could not connect' in line and missing in line
    with socket.create_server(('', int(clusters[0].addresses[index].rpartition(':')[2]))):
        assert 'Address already in use' in refused(capsys, *options, code=4)
