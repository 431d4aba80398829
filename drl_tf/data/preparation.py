"""Prepares any dataset for fast reading: writes its images as TFRecord files (--mode=prepare)."""

import contextlib
import dataclasses
import io
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import held
from drl_tf.config import config
from drl_tf.data import dataset_table, facts, pipeline

_NAME = 'images'
_VERSION = '1.0.0'


def prepare(data: config.Data, directory: str) -> dict[str, str]:
    """Writes a dataset to TFRecord files in a new directory, for use with `--dataset=tfrecords:DIR`.

    Images are cropped, resized and stored as PNG, with their classes if there are any. The files have the
    format of tensorflow-datasets. They hold the images in a shuffled order, which is the same for every call
    with the same dataset. The directory appears only when it is complete.

    Args:
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
      directory: the directory to create, on this machine; it must not exist.

    Returns:
      Lines to print, {label: text}, about the files.

    Raises:
      UserError: the dataset or the disk cannot be used, or another process writes this directory.

    Example:
      prepare(resolve(Data('npz:pictures.npz', num_classes=-1)), 'prepared')
    """
    data = _with_classes(data)
    counts = {split: pipeline.count_images(data, split) for split in ('train', 'test')}
    try:
        with _aside(directory) as aside:
            os.rename(_store(data, aside), directory)
    except UserError:
        raise
    except Exception as error:  # Disks and the library raise errors of many kinds.
        raise UserError(
            f'--output_dir={directory} could not be written ({one_line(error)}): fix that and run again'
        ) from error
    classes = f', {data.num_classes} classes' if data.num_classes else ''
    height, width, channels = data.image_shape
    return {
        'prepared': directory,
        'images': f'{counts["train"]:,} + {counts["test"]:,} of {height} x {width} x {channels}{classes}',
        'to train on them': f'--dataset=tfrecords:{directory}',
    }


def _with_classes(data: config.Data) -> config.Data:
    """Returns the options with the number of classes of the dataset, even if --num_classes=0."""
    spec = dataset_table.find_spec(data.dataset)
    is_own = dataset_table.is_own(data.dataset)
    classes = facts.look(data, spec).num_classes if is_own else spec.num_classes
    return dataclasses.replace(data, num_classes=classes)


@contextlib.contextmanager
def _aside(directory: str) -> Iterator[str]:
    """Context manager: locks `<directory>.part`, yields a new directory in it, and removes both at the end.

    An earlier run that was killed may have left either.
    """
    part = f'{directory.rstrip(os.sep)}.part'
    aside = os.path.join(part, 'files')
    with held(part, '--output_dir'):
        shutil.rmtree(aside, ignore_errors=True)
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)


def _store(data: config.Data, directory: str) -> str:
    """Writes both splits below a directory; returns the directory of the files."""
    with contextlib.redirect_stdout(io.StringIO()):  # Hides messages of the library on downloads.
        builder = tfds.dataset_builders.store_as_tfds_dataset(
            name=_NAME,
            version=_VERSION,
            features=_features(data),
            split_datasets={split: _examples(data, split) for split in ('train', 'test')},
            data_dir=directory,
        )
    return os.fspath(builder.data_path)


def _features(data: config.Data) -> tfds.features.FeaturesDict:
    image = tfds.features.Image(shape=data.image_shape, encoding_format='png')
    if not data.num_classes:
        return tfds.features.FeaturesDict({'image': image})
    return tfds.features.FeaturesDict(
        {'image': image, 'label': tfds.features.ClassLabel(num_classes=data.num_classes)}
    )


def _examples(data: config.Data, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (index, features {name: value}) for each image of a split, in order."""
    labels = pipeline.load_labels(data, split) if data.num_classes else np.zeros(0, np.int32)
    index = 0
    for part in pipeline.image_batches(data, split):
        for image in part:
            example = {'image': image}
            if data.num_classes:
                example['label'] = labels[index]
            yield index, example
            index += 1
