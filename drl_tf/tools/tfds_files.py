"""Datasets in the real file format of tensorflow-datasets, made of any pictures."""

from unittest import mock

import tensorflow as tf
import tensorflow_datasets as tfds


def write(name, data_dir, shards=1, **pictures):
    """Writes TFRecord files and metadata of {split: pictures}, other features blank; returns the directory of
    the dataset."""
    builder = tfds.builder(name, data_dir=str(data_dir))
    blank = _blank(builder.info.features.get_tensor_info())

    def examples(split):
        for index, picture in enumerate(pictures[split]):
            yield index, {**blank, 'image': picture}

    with mock.patch.object(
        type(builder), '_split_generators', lambda self, _: {split: examples(split) for split in pictures}
    ):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=shards, try_download_gcs=False)
        )
    return builder.data_path


def _blank(info):
    if isinstance(info, dict):
        return {name: _blank(part) for name, part in info.items()}
    dtype = tf.as_dtype(info.dtype)
    return '' if dtype == tf.string else dtype.as_numpy_dtype(0)
