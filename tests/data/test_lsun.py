"""LSUN from LMDBs of real photographs; a thread stands in for the processes, which
tests/training/test_lsun_run.py starts."""

import collections
import hashlib
import io
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers.lsun import COUNT, HELD_OUT, data_of, records, refused
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.base.files import held
from drl_tf.config import config
from drl_tf.data import (
    asking,
    dataset_table,
    images,
    lsun,
    lsun_shards,
    pipeline,
    tfds_datasets,
)
from drl_tf.tools.photographs import encoded, photographs, write_lmdb, zipped

pytestmark = pytest.mark.usefixtures('small_scale')


def test_published_files_are_kept_to_the_byte_and_spread_at_random_over_shards(tmp_path, manual):
    builder = tfds_datasets.open_builder(data_of(tmp_path))
    found = records(builder, 'train')
    assert dict(found) == manual and len(found) == COUNT
    assert builder.info.splits['train'].shard_lengths == [8, 8, 7]
    assert builder.info.splits['validation'].num_examples == HELD_OUT
    ranks = [sorted(manual).index(key) for key, _ in found]
    assert abs(np.corrcoef(ranks, np.arange(COUNT))[0, 1]) < 0.5
    assert {path.name for path in (tmp_path / 'data/downloads').iterdir()} == {'.lock'}


def test_the_stock_builder_reads_what_was_prepared(tmp_path, manual):
    tfds_datasets.open_builder(data_of(tmp_path))
    stock = tfds.builder('lsun/church_outdoor', data_dir=str(tmp_path / 'data'))
    assert stock.info.full_name == 'lsun/church_outdoor/3.1.0'
    pictures = {
        example['id'].decode(): example['image'] for example in tfds.as_numpy(stock.as_dataset(split='train'))
    }
    for key, file in manual.items():
        np.testing.assert_array_equal(pictures[key], tf.io.decode_jpeg(file))


@pytest.mark.parametrize('in_memory', [True, False])
def test_prepared_at_the_image_size_the_batches_are_those_of_the_full_pictures(
    tmp_path, manual, monkeypatch, in_memory
):
    monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 2**31 if in_memory else 0)
    full, small = data_of(tmp_path), data_of(tmp_path, prepare_size=64)
    first, second = (
        itertools.islice(pipeline.training_images(data, 8, seed=0).as_numpy_iterator(), 6)
        for data in (full, small)
    )
    for expected, found in zip(first, second, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pipeline.load_images(small, 'test'), pipeline.load_images(full, 'test'))


def test_prepared_pictures_are_lossless_squares_beside_other_sizes(tmp_path, manual):
    for size in (64, 128):
        builder = tfds_datasets.open_builder(data_of(tmp_path, prepare_size=size))
        assert builder.info.full_name == f'lsun/church_outdoor_{size}px/3.1.0'
        for key, file in records(builder, 'train'):
            picture = Image.open(io.BytesIO(file))
            assert (picture.format, picture.size) == ('PNG', (size, size))
            full = tf.io.decode_jpeg(manual[key])
            np.testing.assert_array_equal(
                picture, images.crop_and_resize(full, data_of(tmp_path, image_size=size))
            )
    assert len(list((tmp_path / 'data/lsun').glob('church_outdoor_*px'))) == 2


def test_categories_of_objects_are_one_archive_in_webp(tmp_path):
    files = [encoded(picture, 'WEBP') for picture in photographs(40, side=80)]
    write_lmdb(tmp_path / 'manual/airplane', files)
    data = data_of(tmp_path, 'lsun_airplane')
    loaded = [*pipeline.load_images(data, 'train'), *pipeline.load_images(data, 'test')]
    expected = [
        images.crop_and_resize(np.asarray(Image.open(io.BytesIO(file))), data).numpy() for file in files
    ]
    assert sorted(image.tobytes() for image in loaded) == sorted(image.tobytes() for image in expected)
    assert len(pipeline.load_images(data, 'test')) == 2


def test_zips_are_unpacked_and_leave_nothing_behind(tmp_path, manual, monkeypatch):
    builder = tfds_datasets.make_builder('lsun/church_outdoor', str(tmp_path / 'data'))
    for archive in asking.wanted(builder):
        path = zipped(tmp_path / 'manual' / archive.unpacked_name)
        path.with_suffix('').rename(tmp_path / archive.unpacked_name)
        content = path.read_bytes()
        info = tfds.download.checksums.UrlInfo(
            len(content), hashlib.sha256(content).hexdigest(), archive.name
        )
        monkeypatch.setitem(builder.url_infos, archive.url, info)
    assert dict(records(tfds_datasets.open_builder(data_of(tmp_path)), 'train')) == manual
    assert {path.name for path in (tmp_path / 'data/downloads').iterdir()} == {'.lock'}
    assert len(list((tmp_path / 'manual').iterdir())) == 2


def test_a_zip_that_was_cut_off_is_said_before_anything_is_read(tmp_path, manual):
    path = zipped(tmp_path / 'manual/church_outdoor_train_lmdb')
    path.with_suffix('').rename(tmp_path / 'elsewhere')
    (expected,) = (info.size for info in lsun.Lsun.url_infos.values() if info.filename == path.name)
    message = refused(data_of(tmp_path))
    assert (
        f'{path} is cut off, or zipped anew: it has {path.stat().st_size:,} bytes, {int(expected):,} are '
        'expected' in message
    )
    assert (
        message.endswith(f', or, if it is sound, unpack it to {path.with_suffix("")}')
        and 'remove' not in message
    )


@pytest.mark.parametrize(
    ('dataset', 'wanted'),
    [('lsun_church', 'church_outdoor_train_lmdb and church_outdoor_val_lmdb'), ('lsun_airplane', 'airplane')],
)
def test_an_lmdb_for_the_manual_directory_is_said_with_what_the_one_above_must_hold(
    tmp_path, photos, dataset, wanted
):
    write_lmdb(tmp_path / 'manual', photos[:2])
    expected = (
        f'--manual_dir={tmp_path / "manual"} is an LMDB itself: give its parent directory, which '
        f'must hold {wanted}'
    )
    assert refused(data_of(tmp_path, dataset)) == expected


@pytest.mark.parametrize('content', [b'PK\x03\x04 no archive', None])
def test_a_zip_without_an_lmdb_is_said_in_one_line(tmp_path, content):
    path = tmp_path / 'church_outdoor_train_lmdb.zip'
    if content:
        path.write_bytes(content)
    else:
        (tmp_path / 'other').mkdir()
        (tmp_path / 'other/notes.txt').touch()
        path = zipped(tmp_path / 'other')
    with pytest.raises(UserError, match=f'{path} is damaged or holds no data.mdb'):
        lsun.unpacked(str(path), str(tmp_path / 'work'))
    assert not list(tmp_path.rglob('data.mdb*'))


def test_an_interrupted_preparation_goes_on_and_keeps_whole_shards(tmp_path, manual, monkeypatch):
    write, written = lsun_shards.write_shard, []

    def write_two(shard):
        if len(written) == 2:
            pathlib.Path(f'{shard.path}.writing').write_bytes(b'half a shard')
            raise OSError('no space left')
        written.append(shard.path)
        write(shard)

    monkeypatch.setattr(lsun_shards, 'write_shard', write_two)
    assert 'no space left' in refused(data_of(tmp_path))
    leftover = tmp_path / 'data/lsun/church_outdoor/incomplete.ABC_3.1.0'
    leftover.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(lsun_shards, 'write_shard', lambda shard: (written.append(shard.path), write(shard)))
    resumed = records(tfds_datasets.open_builder(data_of(tmp_path)), 'train')
    assert not leftover.exists()
    assert len(written) == 4 and max(collections.Counter(written).values()) == 1
    other = tmp_path / 'other'
    monkeypatch.setattr(lsun_shards, 'write_shard', write)
    assert resumed == records(
        tfds_datasets.open_builder(
            dataset_table.resolve(config.Data('lsun_church', str(other), str(tmp_path / 'manual')))
        ),
        'train',
    )


def test_shards_of_another_lmdb_are_not_taken_up(tmp_path, manual, monkeypatch, photos):
    write = lsun_shards.write_shard

    def write_but_the_last(shard):
        if shard.split == 'validation':
            raise OSError('no space left')
        write(shard)

    monkeypatch.setattr(lsun_shards, 'write_shard', write_but_the_last)
    refused(data_of(tmp_path))
    monkeypatch.setattr(lsun_shards, 'write_shard', write)
    (tmp_path / 'manual/church_outdoor_train_lmdb').rename(tmp_path / 'elsewhere')
    content = write_lmdb(tmp_path / 'manual/church_outdoor_train_lmdb', photos[:COUNT][::-1], list(manual))
    assert dict(records(tfds_datasets.open_builder(data_of(tmp_path)), 'train')) == content


def test_two_preparations_in_one_place_do_not_meet(tmp_path, manual):
    with held(tmp_path / 'data/downloads'):
        assert 'is in use by another run' in refused(data_of(tmp_path))
