"""Which strategy the flags and TF_CONFIG choose, and what is refused; the TPU's client is replaced."""

import importlib.util
import json
import socket

import pytest
import tensorflow as tf
from helpers.tiny import call, refused

from drl_tf.base.errors import UserError, WorkerLost
from drl_tf.distributed import cluster, devices, workers
from drl_tf.distributed.cluster import Devices, Workers

TWO = ['a:1', 'b:2']


def tf_config(monkeypatch, addresses=TWO, job='worker', index=0, **more):
    value = {'cluster': {'worker': addresses, **more}, 'task': {'type': job, 'index': index}}
    monkeypatch.setenv('TF_CONFIG', json.dumps(value))


def test_what_is_chosen(monkeypatch):
    assert cluster.chosen(Devices()) == 'auto' and cluster.chosen(Devices('mirrored')) == 'mirrored'
    assert (
        cluster.chosen(Devices(tpu='mine', tpu_zone='z')) == cluster.chosen(Devices('tpu', 'mine')) == 'tpu'
    )
    tf_config(monkeypatch, ['a:1'])
    assert cluster.chosen(Devices()) == 'auto' and cluster.workers() == Workers(('a:1',))
    tf_config(monkeypatch, index=1)
    assert cluster.chosen(Devices()) == cluster.chosen(Devices('multi_worker')) == 'multi_worker'
    assert cluster.workers() == Workers(('a:1', 'b:2'), 1, (('worker', 2),))
    tf_config(monkeypatch, index=1, chief=['c:3'])
    assert cluster.workers() == Workers(('c:3', 'a:1', 'b:2'), 2, (('chief', 1), ('worker', 2)))
    monkeypatch.setenv('TF_CONFIG', '{}')
    assert cluster.workers().count == 1


@pytest.mark.parametrize(
    'flags, part',
    [
        (['--tpu_zone=z'], '--tpu_zone=z is for a TPU'),
        (['--gcp_project=p', '--strategy=one'], '--gcp_project=p is for a TPU'),
        (['--strategy=tpu'], 'needs --tpu'),
        (['--strategy=one', '--tpu=t'], '--tpu=t does not go with --strategy=one'),
        (['--strategy=multi_worker'], 'needs TF_CONFIG with two or more workers'),
        (['--strategy=many'], 'must be one of auto, one, mirrored, multi_worker, tpu'),
    ],
)
def test_wrong_combinations(capsys, flags, part):
    assert part in refused(capsys, '--dry_run', *flags)


def test_wrong_combinations_with_tf_config(capsys, monkeypatch):
    tf_config(monkeypatch)
    for strategy in ('one', 'mirrored'):
        assert 'TF_CONFIG names 2 workers' in refused(capsys, '--dry_run', f'--strategy={strategy}')
    assert 'TF_CONFIG names 2 workers' in refused(capsys, '--dry_run', '--tpu=t')
    assert call(capsys, '--dry_run', '--strategy=multi_worker')[0] == 0


@pytest.mark.parametrize(
    'text',
    [
        '{',
        '[1]',
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": "0"}}',
        '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b:2"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:0", "b:2"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:65536"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1", "b:²"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:2"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_damaged_tf_config(capsys, monkeypatch, text):
    monkeypatch.setenv('TF_CONFIG', text)
    line = refused(capsys, '--dry_run')
    assert f'TF_CONFIG={text[:50]}' in line and 'is damaged' in line


class Resolver:
    """As TensorFlow's: a name is looked up when the cluster is asked for, and not before."""

    def __init__(self, endpoints, failure):
        self.endpoints, self.failure = endpoints, failure

    def cluster_spec(self):
        if self.failure:
            raise self.failure
        return tf.train.ClusterSpec({'worker': self.endpoints} if self.endpoints else {})


def stand_in(monkeypatch, endpoints=(), **failing):
    """Replaces the client of TPUs; returns the list of what is called. `failing` raises instead."""
    called = []
    resolver = Resolver(list(endpoints), failing.get('cluster_spec'))

    def replaced(owner, name, answer):
        def function(*arguments):
            called.append((name, *(argument for argument in arguments if argument is not resolver)))
            if name in failing:
                raise failing[name]
            return answer

        monkeypatch.setattr(owner, name, function)

    replaced(tf.distribute.cluster_resolver, 'TPUClusterResolver', resolver)
    replaced(tf.config, 'experimental_connect_to_cluster', None)
    replaced(tf.tpu.experimental, 'initialize_tpu_system', None)
    replaced(tf.distribute, 'TPUStrategy', 'strategy')
    return called


@pytest.fixture(autouse=True)
def undone():
    """The choice of a test does not last."""
    yield
    devices.created.cache_clear()
    devices.set_up(False)


def test_a_tpu_is_initialised_once(monkeypatch):
    called = stand_in(monkeypatch)
    for _ in range(2):
        devices.set_up(False, Devices(tpu='pod', tpu_zone='zone', gcp_project='project'))
    assert called == [
        ('TPUClusterResolver', 'pod', 'zone', 'project'),
        ('experimental_connect_to_cluster',), ('initialize_tpu_system',), ('TPUStrategy',),
    ]  # fmt: skip
    assert devices.strategy() == 'strategy'


def test_the_endpoints_of_a_tpu_are_reached_first(monkeypatch, capsys):
    """A connection to each is made before TensorFlow, which tries without end, does; it is said where to."""
    with socket.create_server(('localhost', 0)) as server, socket.create_server(('localhost', 0)) as closed:
        here, gone = (f'localhost:{each.getsockname()[1]}' for each in (server, closed))
        closed.close()
        called = stand_in(monkeypatch, [here])
        devices.set_up(False, Devices(tpu='pod'))
        assert server.accept() and called[-1] == ('TPUStrategy',)
        assert capsys.readouterr().err.splitlines() == ['connecting to --tpu=pod']
        called = stand_in(monkeypatch, [here, gone])
        with pytest.raises(
            UserError,
            match=rf'--tpu=other cannot be reached at {gone} \(ConnectionRefusedError: .*see that it runs',
        ):
            devices.set_up(False, Devices(tpu='other'))
    assert called == [('TPUClusterResolver', 'other', None, None)]


def test_addresses_of_tpus_at_which_nothing_listens(capsys):
    """The real resolver, which takes addresses as they are."""
    for address in ('grpc://127.0.0.1:1', 'grpc://127.0.0.1:99999', 'grpc://'):
        line = refused(capsys, f'--tpu={address}', '--train_steps=1')
        assert line.startswith(f'error: --tpu={address} '), line


def test_names_of_tpus_take_googles_client(capsys):
    """Without it the real resolver fails as late as its cluster is asked for; the line says what to
    install."""
    options = ['--tpu=pod', '--tpu_zone=z', '--gcp_project=p']
    if importlib.util.find_spec('googleapiclient'):
        pytest.skip("Google's client is installed")
    assert "pip install 'drl_tf[tpu]'" in refused(capsys, *options, '--train_steps=1')


def test_a_tpu_that_is_not_asked_for_is_named(monkeypatch, caplog):
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config, 'list_physical_devices', lambda kind=None: ['TPU:0'] if kind == 'TPU' else listed(kind)
    )
    devices.created.cache_clear()
    for wanted, warnings in ((Devices('one'), 0), (Devices(), 1)):
        devices.set_up(False, wanted)
        assert caplog.text.count('--tpu=local') == warnings


@pytest.mark.parametrize(
    'name, error, part',
    [
        (
            'cluster_spec',
            ValueError('no such node'),
            '--tpu=pod --tpu_zone=zone is not known (ValueError: no such node)',
        ),
        (
            'experimental_connect_to_cluster',
            tf.errors.UnavailableError(None, None, 'no\nroute'),
            'cannot be used (UnavailableError: no route)',
        ),
        (
            'initialize_tpu_system',
            tf.errors.NotFoundError(None, None, 'no TPU devices'),
            'cannot be used (NotFoundError: no TPU',
        ),
    ],
)
def test_a_tpu_that_is_not_there(monkeypatch, name, error, part):
    stand_in(monkeypatch, **{name: error})
    with pytest.raises(UserError) as raised:
        devices.set_up(False, Devices(tpu='pod', tpu_zone='zone'))
    assert part in str(raised.value) and '\n' not in str(raised.value)


def test_an_unknown_tpu(capsys):
    """The real client, which finds neither a TPU nor anyone to ask."""
    assert refused(capsys, '--tpu=local', '--train_steps=1').startswith('error: --tpu=local ')


def test_a_tpu_that_is_lost(monkeypatch):
    """One line and a code of its own; errors of another kind, and without a TPU, stay what they are."""
    lost, other = (
        tf.errors.UnavailableError(None, None, 'Socket closed'),
        tf.errors.InternalError(None, None, 'compiler'),
    )

    def end(error):
        with workers.as_one_run():
            raise error

    with pytest.raises(tf.errors.UnavailableError):
        end(lost)
    monkeypatch.setattr(devices, 'on_tpu', lambda: True)
    with pytest.raises(
        WorkerLost, match=r'the TPU is gone or cannot be reached \(UnavailableError: Socket closed'
    ):
        end(lost)
    with pytest.raises(tf.errors.InternalError):
        end(other)
