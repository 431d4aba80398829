"""Broken pictures and damaged LMDBs of LSUN: counted and left out, or refused in one line."""

import io

import lmdb
import pytest
from helpers.lsun import data_of, records, refused
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.data import lmdb_files, lsun_shards, tfds_datasets
from drl_tf.tools.photographs import encoded, end_process, photographs, write_lmdb

pytestmark = pytest.mark.usefixtures('small_scale')


def write_many(directory, count, bad):
    """An LMDB of `count` small pictures after which come the files `bad`."""
    picture = encoded(next(photographs(1, side=20)))
    return write_lmdb(directory, [picture] * count + bad)


def broken_files():
    picture = encoded(next(photographs(1, side=100)))
    bomb = io.BytesIO()
    Image.new('1', (9000, 9000)).save(bomb, 'PNG')
    return [picture[: len(picture) // 2], bomb.getvalue(), b'', b'no picture']


def test_broken_pictures_are_named_counted_and_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(lsun_shards, 'PER_SHARD', 150)
    bad = broken_files()
    content = write_many(tmp_path / 'manual/airplane', 400, bad)
    found = records(tfds_datasets.open_builder(data_of(tmp_path, 'lsun_airplane', image_size=8)), 'train')
    assert dict(found) == {key: file for key, file in content.items() if file not in bad}
    for key, file in content.items():
        assert caplog.text.count(f'Left out {key} of') == (file in bad)
    assert '9000 x 9000 pixels' in caplog.text
    assert 'it does not begin as a file of kind PNG, JPEG' in caplog.text and 'object at' not in caplog.text
    assert f'4 of 404 pictures of {tmp_path / "manual/airplane"} left out' in caplog.text


def test_an_lmdb_of_which_more_than_one_percent_is_broken_is_refused(tmp_path):
    write_many(tmp_path / 'manual/airplane', 395, broken_files())
    message = refused(data_of(tmp_path, 'lsun_airplane'))
    assert (
        f'{tmp_path / "manual/airplane/data.mdb"} is damaged: at least 4 of its 399 pictures do not decode'
        in message
    )


def garble(path):
    """Overwrites the pages of keys, not those of pictures."""
    content = bytearray(path.read_bytes())
    for start in range(2 * 4096, len(content), 4096):
        if content[start + 10] & 3 and int.from_bytes(content[start : start + 8], 'little') == start // 4096:
            content[start + 16 : start + 4096] = b'\xff' * 4080
    path.write_bytes(content)


def emptied(path):
    path.unlink()
    path.parent.rmdir()
    with lmdb.open(str(path.parent)):
        pass


@pytest.mark.parametrize(
    ('damage', 'said'),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), 'is cut off: it has'),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), 'is damaged'),
        (lambda path: path.write_bytes(b''), 'data.mdb is empty, 0 bytes: unpack it again'),
        (lambda path: path.write_bytes(bytes(20_000)), 'is damaged'),
        (lambda path: path.unlink(), 'holds no data.mdb'),
        (garble, 'is damaged'),
        (emptied, 'is empty'),
    ],
)
def test_a_damaged_lmdb_is_said_in_one_line(tmp_path, manual, monkeypatch, damage, said):
    monkeypatch.undo()
    (tmp_path / 'manual/church_outdoor_train_lmdb/lock.mdb').unlink()
    damage(tmp_path / 'manual/church_outdoor_train_lmdb/data.mdb')
    message = refused(data_of(tmp_path))
    assert f'{tmp_path / "manual/church_outdoor_train_lmdb"}' in message and said in message


def test_a_process_that_a_damaged_lmdb_ends_takes_no_other_with_it(tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / 'ends').mkdir()
    monkeypatch.setattr(lmdb_files, 'read_keys', end_process)
    with pytest.raises(UserError, match=r'ends/data.mdb is damaged \(BrokenProcessPool'):
        lmdb_files.keys(str(tmp_path / 'ends'))
