"""--data_dir of a scheme that TensorFlow alone reads: its file system in memory, ram://, stands in for gs://,
which the same code reads."""

import numpy as np
import pytest
import tensorflow as tf
from etils.epath import gpath, register
from helpers.tiny import TINY, refused

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import images, pipeline, tfds_datasets, tfds_reading


@pytest.fixture
def bucket(monkeypatch):
    """The name of an empty directory in memory, whose scheme tensorflow-datasets takes for a remote one, as
    it does gs://."""
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
        batches[place] = [
            batch.numpy() for batch in pipeline.training_images(data, 8, seed=1, first_step=2).take(3)
        ]
    np.testing.assert_array_equal(batches[bucket], batches[str(tmp_path)])
    assert np.ptp(batches[bucket]) > 1


def test_nothing_is_prepared_there(bucket):
    with pytest.raises(
        UserError, match=f'cifar10 is not in --data_dir={bucket}: prepare it in a local --data_dir, copy'
    ):
        pipeline.prepare(config.Data(dataset='cifar10', data_dir=bucket))


@pytest.mark.parametrize(
    'kind', ['Aborted', 'FailedPrecondition', 'PermissionDenied', 'Unauthenticated', 'Unavailable']
)
@pytest.mark.parametrize('stage', ['found', 'asked for', 'checked', 'read'])
def test_a_file_system_that_fails_is_no_damage(tmp_path, prepare, bucket, monkeypatch, kind, stage):
    """Whatever fails at whichever stage; an error of another kind is damage, and so is any on a local
    disk."""
    error, asked = getattr(tf.errors, f'{kind}Error')(None, None, 'HTTP response code 401'), [0]
    directory = prepare(
        'cifar10', train=np.zeros([4, 32, 32, 3], np.uint8), test=np.zeros([4, 32, 32, 3], np.uint8)
    )
    there = f'{bucket}/{directory.relative_to(tmp_path)}'
    tf.io.gfile.makedirs(there)
    copied(directory, there)

    def fail(*_, **__):
        asked[0] += 1
        raise error

    def refused_by(place, error_line):
        data = config.Data(dataset='cifar10', data_dir=str(place), image_size=32, image_channels=3)
        builder = tfds_datasets.open_builder(data) if stage == 'read' else None
        with monkeypatch.context() as patch, pytest.raises(UserError, match=error_line) as raised:
            if stage == 'found':
                patch.setattr(tfds_datasets.tfds, 'builder', lambda *_, **__: tfds_error(fail))
            elif stage == 'asked for':
                patch.setattr(gpath.PosixGPath, 'exists', fail)
            elif stage == 'checked':
                patch.setattr(gpath.PosixGPath, 'stat', fail)
            else:
                patch.setattr(tf.data.Dataset, 'as_numpy_iterator', fail)
            tfds_reading.load(builder or tfds_datasets.open_builder(data), 'train', data)
        return str(raised.value)

    line = refused_by(bucket, 'cannot be reached')
    assert (
        bucket in line
        and f'{kind}Error' in line
        and 'check the network, your credentials and the name' in line
        and asked == [1]
    )
    assert 'is damaged' in refused_by(tmp_path, 'is damaged')
    error = tf.errors.DataLossError(None, None, 'corrupted record')
    assert 'is damaged' in refused_by(bucket, 'is damaged')


def tfds_error(function):
    """What tensorflow-datasets makes of an error as it looks for a dataset."""
    try:
        return function()
    except Exception as error:
        raise RuntimeError(f'{type(error).__name__}: Failed to construct dataset') from error


@pytest.mark.parametrize('name', ['workdir', 'init_from', 'manual_dir'])
def test_nothing_else_is_there(capsys, name):
    assert f'--{name}=gs://bucket/x must be a path on this machine' in refused(
        capsys, *TINY, f'--{name}=gs://bucket/x'
    )
