"""Archives by hand and from servers on the loopback that stall, break off, know no ranges or answer with
something else."""

import hashlib
import re
import shutil
import socket
import threading

import numpy as np
import pytest
from helpers.loopback import serving

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, downloads, tfds_datasets

CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = 'pictures.zip'


@pytest.fixture
def server():
    with serving(CONTENT, NAME) as server:
        yield server


@pytest.fixture(autouse=True)
def small_scale(monkeypatch):
    monkeypatch.setattr(downloads, 'STALL_SECONDS', 0.5)
    monkeypatch.setattr(downloads, 'ANSWER_SECONDS', 10)
    monkeypatch.setattr(downloads, 'FUTILE_BYTES', 1000)
    monkeypatch.setattr(downloads, 'CHUNK_BYTES', 100)


def archive_at(url, name=NAME, content=CONTENT):
    return downloads.Archive(name, url, len(content), hashlib.sha256(content).hexdigest())


def refused(tmp_path, *archives, manual_dir=''):
    with pytest.raises(UserError) as error:
        downloads.gather(list(archives), str(manual_dir), str(tmp_path))
    assert '\n' not in str(error.value)
    assert not (tmp_path / NAME).exists()
    return str(error.value)


def test_a_download_gets_its_name_when_it_is_whole(tmp_path, server):
    found = downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert found == {NAME: str(tmp_path / NAME)}
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert server.asked == [(f'/{NAME}', None)]


def test_a_part_is_taken_up_where_it_ends(tmp_path, server):
    (tmp_path / f'{NAME}.part').write_bytes(CONTENT[:123_456])
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.asked == [(f'/{NAME}', 'bytes=123456-')]


def test_a_server_without_ranges_begins_anew(tmp_path, server):
    server.ranges = False
    (tmp_path / f'{NAME}.part').write_bytes(CONTENT[:123_456])
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize('part', [CONTENT + b'more', CONTENT])
def test_a_part_that_is_too_long_or_whole_is_told_from_an_unfinished_one(tmp_path, server, part):
    (tmp_path / f'{NAME}.part').write_bytes(part)
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert len(server.asked) == (len(part) > len(CONTENT))


@pytest.mark.parametrize('stalls', [False, True])
def test_a_connection_that_breaks_off_or_stalls_is_made_again_as_long_as_it_brings_something(
    tmp_path, server, stalls
):
    server.bytes_per_answer, server.stalls = 100_000, stalls
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, 'bytes=100000-', 'bytes=200000-']


@pytest.mark.parametrize('stalls', [False, True])
def test_a_server_that_brings_nothing_more_is_given_up_and_the_part_is_kept(tmp_path, server, stalls):
    (tmp_path / f'{NAME}.part').write_bytes(CONTENT[:200_000])
    server.bytes_per_answer, server.stalls = 100, stalls
    message = refused(tmp_path, archive_at(server.url))
    assert re.match(
        rf'{server.url} (stopped|ended) after 200,300 of 300,000 bytes, 3 times in a row \(run again', message
    )
    assert (tmp_path / f'{NAME}.part').read_bytes() == CONTENT[:200_300]
    server.bytes_per_answer = None
    downloads.gather([archive_at(server.url)], '', str(tmp_path))
    assert (tmp_path / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ('behaviour', 'said'),
    [
        ({'status': 404}, 'answered 404 Not Found'),
        ({'status': 503}, 'answered 503 Service Unavailable'),
        ({'kind': 'text/html; charset=utf-8'}, 'answered with a web page instead of the file'),
        ({'content': CONTENT[:-1]}, 'offers 299,999 bytes where 300,000 are expected'),
    ],
)
def test_an_answer_that_is_not_the_file_is_said_with_the_way_by_hand(tmp_path, server, behaviour, said):
    vars(server).update(behaviour)
    message = refused(tmp_path, archive_at(server.url))
    assert message.startswith(f'{server.url} {said}')
    assert message.endswith(
        f': fetch by other means {NAME} ({server.url}) into a directory DIR and give --manual_dir=DIR'
    )
    assert len(server.asked) == 1 and not list(tmp_path.iterdir())


def test_other_content_of_the_same_size_is_not_kept(tmp_path, server):
    server.content = bytes(len(CONTENT))
    found, expected = (hashlib.sha256(content).hexdigest() for content in (server.content, CONTENT))
    message = refused(tmp_path, archive_at(server.url))
    assert f'its SHA-256 is {found}, {expected} is expected; fetch it again from {server.url}' in message
    assert not list(tmp_path.iterdir())


def test_a_closed_port_is_said_with_every_archive_that_is_missing(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as closed:
        url = f'http://127.0.0.1:{closed.getsockname()[1]}'
    message = refused(tmp_path, archive_at(f'{url}/1', 'a.zip'), archive_at(f'{url}/2', 'b.zip'))
    assert message == (
        f'{url}/1 cannot be reached (ConnectionError): fetch by other means a.zip ({url}/1), b.zip ({url}/2) '
        'into a directory DIR and give --manual_dir=DIR'
    )


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, 'ANSWER_SECONDS', 0.3)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        message = refused(tmp_path, archive_at(f'http://127.0.0.1:{silent.getsockname()[1]}/'))
    assert 'did not answer within 0.3 seconds' in message


def test_a_name_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, 'ANSWER_SECONDS', 0.3)
    released = threading.Event()

    def getaddrinfo(*args, **kwargs):
        released.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    try:
        assert 'did not answer within 0.3 seconds' in refused(
            tmp_path, archive_at('http://pictures.example/')
        )
    finally:
        released.set()


def test_files_of_google_drive_are_asked_for_without_its_question(tmp_path, server, monkeypatch):
    base = server.url.removesuffix(NAME)
    monkeypatch.setattr(downloads, 'DRIVE_FILES', f'{base}download?confirm=t&')
    downloads.gather([archive_at('https://drive.google.com/uc?export=download&id=abc')], '', str(tmp_path))
    assert server.asked == [('/download?confirm=t&export=download&id=abc', None)]


@pytest.fixture
def manual(tmp_path):
    directory = tmp_path / 'manual'
    directory.mkdir()
    (directory / NAME).write_bytes(CONTENT)
    return directory


def test_archives_by_hand_and_downloaded_ones_go_together(tmp_path, manual):
    (tmp_path / 'other.zip').write_bytes(b'other')
    archives = [
        archive_at('http://nowhere.invalid/1'),
        archive_at('http://nowhere.invalid/2', 'other.zip', b'other'),
    ]
    found = downloads.gather(archives, str(manual), str(tmp_path))
    assert found == {NAME: str(manual / NAME), 'other.zip': str(tmp_path / 'other.zip')}


def test_an_archive_that_was_cut_off_is_said_with_both_sizes_and_no_file_of_the_user_is_to_be_removed(
    tmp_path, manual
):
    cut = manual / NAME
    cut.write_bytes(CONTENT[:1000])
    archive, said = archive_at('http://nowhere.invalid/1'), 'it has 1,000 bytes, 300,000 are expected'
    assert (
        refused(tmp_path, archive, manual_dir=manual)
        == f'{cut} is cut off: {said}; fetch it again from {archive.url}'
    )
    assert cut.exists()
    with pytest.raises(UserError) as error:
        downloads.gather([archive], '', str(manual))
    assert str(error.value) == f'{cut} is cut off: {said}; remove it and fetch it again from {archive.url}'


def test_an_archive_with_a_flipped_bit_is_damaged(tmp_path, manual):
    (manual / NAME).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    assert f'{manual / NAME} is damaged: its SHA-256 is' in refused(
        tmp_path, archive_at('http://x.invalid'), manual_dir=manual
    )


def test_an_unpacked_archive_is_taken_where_it_will_do(tmp_path, manual):
    (manual / NAME).unlink()
    (manual / 'pictures').mkdir()
    archive = archive_at('http://127.0.0.1:1/')
    assert downloads.gather([archive], str(manual), str(tmp_path), unpacked=True) == {
        'pictures': str(manual / 'pictures')
    }
    with pytest.raises(UserError, match='cannot be reached'):
        downloads.gather([archive], str(manual), str(tmp_path))


def test_a_full_disk_is_said_before_the_download(tmp_path, server, monkeypatch):
    monkeypatch.setattr(
        shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(2**33, 2**33 - 200_000, 200_000)
    )
    (tmp_path / f'{NAME}.part').write_bytes(CONTENT[:1000])
    assert 'GiB free and the downloads take' in refused(tmp_path, archive_at(server.url))
    assert not server.asked
    (tmp_path / f'{NAME}.part').write_bytes(CONTENT[:100_000])
    downloads.gather([archive_at(server.url)], '', str(tmp_path))


def test_all_categories_of_lsun_are_in_the_table(tmp_path):
    stock = {known.name for known in tfds_datasets.OWN_BUILDERS['lsun'].BUILDER_CONFIGS}
    ours = {
        dataset_table.builder_name(dataset_table.resolve(config.Data(dataset=name)))
        for name in dataset_table.DATASETS
        if name.startswith('lsun_')
    }
    assert ours == {f'lsun/{name}' for name in stock}
