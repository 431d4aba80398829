"""Datasets of several tests: small ones in the file format of tensorflow-datasets, and LSUN."""

import concurrent.futures

import pytest
from helpers.lsun import COUNT, HELD_OUT, PER_SHARD

from drl_tf.data import indexed, lsun_shards
from drl_tf.tools import tfds_files
from drl_tf.tools.photographs import encoded, photographs, write_lmdb


@pytest.fixture
def prepare(tmp_path):
    """A function that writes TFRecord files and metadata below `tmp_path` and returns the directory of the
    dataset there."""
    return lambda name, shards=1, **pictures: tfds_files.write(name, tmp_path, shards, **pictures)


@pytest.fixture
def fresh():
    """Data of the user are read anew."""
    indexed.forget()


@pytest.fixture
def small_scale(monkeypatch):
    """Few pictures in a shard, and a thread in the place of the processes."""
    monkeypatch.setattr(lsun_shards, 'PER_SHARD', PER_SHARD)
    monkeypatch.setattr(
        concurrent.futures, 'ProcessPoolExecutor', lambda *args: concurrent.futures.ThreadPoolExecutor(1)
    )


@pytest.fixture(scope='module')
def photos():
    return [encoded(picture) for picture in photographs(COUNT + HELD_OUT, side=140)]


@pytest.fixture
def manual(tmp_path, photos):
    """LMDB directories of church_outdoor as the user unpacked them, and {key: file} of the first."""
    write_lmdb(tmp_path / 'manual/church_outdoor_val_lmdb', photos[COUNT:])
    return write_lmdb(tmp_path / 'manual/church_outdoor_train_lmdb', photos[:COUNT])
