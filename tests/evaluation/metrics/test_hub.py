"""The network of TF-Hub, from a server on the loopback and from caches that we and TF-Hub filled."""

import hashlib
import io
import pathlib
import re
import socket
import tarfile

import pytest
import tensorflow as tf
import tensorflow_hub as hub
from helpers.loopback import serving

from drl_tf.base.errors import UserError
from drl_tf.data import downloads
from drl_tf.evaluation.metrics import extractors


class Doubled(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([])])
    def __call__(self, x):
        return 2 * x


@pytest.fixture(scope='module')
def content(tmp_path_factory):
    """The archive of a SavedModel, as TF-Hub packs it."""
    directory = tmp_path_factory.mktemp('hub') / 'network'
    tf.saved_model.save(Doubled(), str(directory))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w:gz') as archive:
        archive.add(directory, '.')
    return packed.getvalue()


@pytest.fixture
def server(content):
    with serving(content, 'network/1') as server:
        server.kind = 'application/gzip'
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, 'STALL_SECONDS', 0.3)
    monkeypatch.setattr(downloads, 'CHUNK_BYTES', 100)
    monkeypatch.setenv('TFHUB_CACHE_DIR', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def name(handle):
    return hashlib.sha1(handle.encode()).hexdigest()


def refused(handle, cache):
    """The one line; nothing is left in the cache."""
    with pytest.raises(UserError) as error:
        extractors.from_hub(handle)
    assert not list(cache.iterdir())
    beginning, end = (
        f'--extractor=inception is not in {cache / name(handle)}, and ',
        '--inception=DIR, or give another --extractor',
    )
    message = str(error.value)
    assert message.startswith(beginning) and message.endswith(end) and '\n' not in message
    return message.removeprefix(beginning)


def test_a_network_is_put_where_tf_hub_finds_it(server, cache):
    cache.mkdir()
    (cache / f'{name(server.url)}.lock').write_text('of a process that was killed')
    directory = extractors.from_hub(server.url)
    assert directory == str(cache / name(server.url)) == hub.resolve(server.url)
    assert tf.saved_model.load(directory)(3.0) == 6
    assert server.asked == [('/network/1?tf-hub-format=compressed', None)]
    assert len(list(cache.iterdir())) == 2


def test_a_network_that_tf_hub_fetched_is_taken(server):
    directory = hub.resolve(server.url)
    assert extractors.from_hub(server.url) == directory and len(server.asked) == 1


@pytest.mark.parametrize(
    ('behaviour', 'said'),
    [
        ({'status': 404}, 'answered 404 Not Found:'),
        ({'kind': 'text/html; charset=utf-8'}, 'answered with a web page instead of the file'),
        ({'bytes_per_answer': 500, 'stalls': True}, 'stopped after 500 bytes:'),
        ({'bytes_per_answer': 500}, 'stopped after 500 bytes:'),
    ],
)
def test_an_answer_without_the_whole_file_is_said_in_one_line(server, cache, behaviour, said):
    vars(server).update(behaviour)
    assert refused(server.url, cache).startswith(f'{server.url}?tf-hub-format=compressed {said}')


@pytest.mark.parametrize(
    'spoil',
    [
        lambda content: b'<html>Log in</html>',
        lambda content: content[: len(content) // 2],
        lambda content: tar_of('notes.txt'),
        bytes.upper,
    ],
)
def test_what_is_no_network_is_not_kept(server, cache, spoil):
    server.content = spoil(server.content)
    assert re.match(
        r'the download of http.* could not be unpacked and loaded \(\w+: .*\): ', refused(server.url, cache)
    )


def tar_of(member):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w:gz') as archive:
        archive.addfile(tarfile.TarInfo(member))
    return packed.getvalue()


def test_a_member_that_would_leave_the_directory_is_refused(server, cache, tmp_path):
    server.content = tar_of('../../../escaped')
    assert '../../../escaped in the archive is no file inside it' in refused(server.url, cache)
    assert not list(pathlib.Path(tmp_path).rglob('escaped'))


def test_a_server_that_never_answers_is_given_up(cache, monkeypatch):
    monkeypatch.setattr(downloads, 'ANSWER_SECONDS', 0.3)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/network/1'
        assert 'did not answer within 0.3 seconds: ' in refused(url, cache)
