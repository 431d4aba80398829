"""Small datasets in the real file format of tensorflow-datasets, made of the test's own pictures."""

from unittest import mock

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds


def _blank(info):
    if isinstance(info, dict):
        return {name: _blank(part) for name, part in info.items()}
    dtype = tf.as_dtype(info.dtype)
    return '' if dtype == tf.string else dtype.as_numpy_dtype(0)


@pytest.fixture
def prepare(tmp_path):
    """A function that writes TFRecord files and metadata below `tmp_path` and returns the directory of the dataset there."""

    def write(name, shards=1, **pictures):
        builder = tfds.builder(name, data_dir=str(tmp_path))
        blank = _blank(builder.info.features.get_tensor_info())

        def examples(split):
            for index, picture in enumerate(pictures[split]):
                yield index, {**blank, 'image': picture}

        with mock.patch.object(type(builder), '_split_generators', lambda self, _: {split: examples(split) for split in pictures}):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
        return builder.data_path

    return write
