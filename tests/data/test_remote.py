"""--data_dir of a scheme that TensorFlow alone reads: its file system in memory, ram://, stands in for gs://, which the same code reads."""

import numpy as np
import pytest
import tensorflow as tf
from etils.epath import gpath, register
from tiny import TINY, refused

from drl_tf import config
from drl_tf.data import images, pipeline
from drl_tf.errors import UserError


@pytest.fixture
def bucket(monkeypatch):
    """The name of an empty directory in memory, whose scheme tensorflow-datasets takes for a remote one, as it does gs://."""
    monkeypatch.setattr(gpath, '_URI_PREFIXES', (*gpath._URI_PREFIXES, 'ram://'))
    monkeypatch.setattr(gpath, '_URI_SCHEMES', frozenset({*gpath._URI_SCHEMES, 'ram'}))
    monkeypatch.setitem(gpath._URI_MAP_ROOT, 'ram://', '/ram/')
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, 'ram', gpath.backend_lib.tf_backend)
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, 'ram://', gpath.PosixGPath)
    tf.io.gfile.makedirs('ram://bucket/data')
    yield 'ram://bucket/data'
    tf.io.gfile.rmtree('ram://bucket')


def copied(source, target):
    """Copies a directory to another file system."""
    for path in source.iterdir():
        tf.io.gfile.copy(str(path), f'{target}/{path.name}')


@pytest.mark.parametrize('held', [True, False], ids=['in memory', 'streamed'])
def test_images_come_from_there(tmp_path, prepare, bucket, monkeypatch, held):
    pictures = np.random.default_rng(0).integers(0, 256, [24, 32, 32, 3], np.uint8)
    directory = prepare('cifar10', shards=2, train=pictures, test=pictures[:4])
    there = f'{bucket}/{directory.relative_to(tmp_path)}'
    tf.io.gfile.makedirs(there)
    copied(directory, there)
    if not held:
        monkeypatch.setattr(images, 'MAX_BYTES_IN_MEMORY', 0)
    batches = {}
    for place in (str(tmp_path), bucket):
        data = config.Data(dataset='cifar10', data_dir=place)
        pipeline.prepare(data)
        batches[place] = [batch.numpy() for batch in pipeline.training_images(data, 8, seed=1, first_step=2).take(3)]
    np.testing.assert_array_equal(batches[bucket], batches[str(tmp_path)])
    assert np.ptp(batches[bucket]) > 1


def test_nothing_is_prepared_there(bucket):
    with pytest.raises(UserError, match=f'cifar10 is not in --data_dir={bucket}: prepare it in a local --data_dir, copy'):
        pipeline.prepare(config.Data(dataset='cifar10', data_dir=bucket))


@pytest.mark.parametrize('name', ['workdir', 'init_from', 'manual_dir'])
def test_nothing_else_is_there(capsys, name):
    assert f'--{name}=gs://bucket/x must be on this machine or mounted there' in refused(capsys, *TINY, f'--{name}=gs://bucket/x')
