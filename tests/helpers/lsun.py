"""LSUN from LMDBs of real photographs, at a small scale."""

import pathlib

import pytest
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, tfds_datasets

COUNT, HELD_OUT, PER_SHARD = 23, 4, 10


def data_of(tmp_path, dataset='lsun_church', prepare_size=0, image_size=64):
    return dataset_table.resolve(
        config.Data(
            dataset,
            str(tmp_path / 'data'),
            str(tmp_path / 'manual'),
            prepare_size=prepare_size,
            image_size=image_size,
        )
    )


def records(builder, split):
    """(id, encoded picture) of a split in the order of its files."""
    examples = builder.as_dataset(
        split=split, decoders={'image': tfds.decode.SkipDecoding()}, shuffle_files=False
    )
    return [(example['id'].decode(), example['image']) for example in examples.as_numpy_iterator()]


def refused(data):
    with pytest.raises(UserError) as error:
        tfds_datasets.open_builder(data)
    assert '\n' not in str(error.value)
    assert not list(pathlib.Path(data.data_dir).glob('lsun/*/*/*.tfrecord*'))
    return str(error.value)
