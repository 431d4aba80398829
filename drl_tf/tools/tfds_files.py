"""Writes pictures as a dataset of tensorflow-datasets."""

import os
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds


def write(
    name: str, data_dir: str | os.PathLike[str], shards: int = 1, **pictures: Sequence[np.ndarray]
) -> os.PathLike[str]:
    """Writes pictures as if they were a known dataset of tensorflow-datasets.

    The feature 'image' of each example is a picture. All other features, such as labels, are 0 or ''.

    Args:
      name: name of the dataset in tensorflow-datasets, such as 'cifar10'.
      data_dir: directory of datasets; the new one becomes a subdirectory.
      shards: number of files per split.
      pictures: the pictures of each split, such as train=[..]; a picture is uint8 [h, w, c].

    Returns:
      The directory of the dataset.
    """
    builder = tfds.builder(name, data_dir=str(data_dir))
    blank = _blank(builder.info.features.get_tensor_info())

    def examples(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, picture in enumerate(pictures[split]):
            yield index, {**blank, 'image': picture}

    def split_generators(self: Any, dl_manager: Any) -> dict[str, Any]:
        return {split: examples(split) for split in pictures}

    with mock.patch.object(type(builder), '_split_generators', split_generators):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=shards, try_download_gcs=False)
        )
    return builder.data_path


def _blank(info: Any) -> Any:
    """Returns a zero or an empty text for each feature."""
    if isinstance(info, dict):
        return {name: _blank(part) for name, part in info.items()}
    dtype = tf.as_dtype(info.dtype)
    return '' if dtype == tf.string else dtype.as_numpy_dtype(0)
