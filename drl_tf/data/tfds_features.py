"""Finds the pictures and the labels among the features of a tensorflow-datasets dataset."""

import difflib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import REMOTE

_METADATA = 'dataset_info.json'


def look(dataset: str, name: str, data_dir: str) -> tuple[tuple[int, int, int], int]:
    """Finds the picture shape and the number of classes of a tensorflow-datasets dataset.

    Args:
      dataset: the value of --dataset, for messages.
      name: name of the dataset in tensorflow-datasets, such as 'mnist', or 'NAME/CONFIGURATION'; '': the
        files that --mode=prepare wrote to `data_dir`.
      data_dir: directory of datasets; '': the default of tensorflow-datasets.

    Returns:
      Pair of the shape (H, W, C) of the pictures, with 0 for a height or width that varies; and the number of
      classes, 0 for none.

    Raises:
      UserError: the dataset is unknown or damaged, or has no pictures.
    """
    builder = stock_builder(name, data_dir) if name else prepared_builder(data_dir)
    features = builder.info.features
    image = image_feature(builder, f'--dataset={dataset}')
    height, width, channels = (side or 0 for side in features[image].shape)
    return (height, width, 1 if channels == 1 else 3), count_classes(builder)


def stock_builder(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that tensorflow-datasets itself provides.

    Args:
      name: name of the dataset in tensorflow-datasets, such as 'mnist', or 'NAME/CONFIGURATION'.
      data_dir: directory of datasets; '': the default of tensorflow-datasets.

    Raises:
      UserError: there is no such builder.
    """
    try:
        return tfds.builder(name, data_dir=data_dir or None)
    except Exception as error:  # Besides errors of the library, parsers of the metadata raise theirs.
        family = name.partition('/')[0]
        known = tfds.list_builders(with_community_datasets=False)
        if family in known:
            raise UserError(
                f'--dataset=tfds:{name} cannot be opened ({one_line(error)}): check the configuration'
            ) from error
        close = difflib.get_close_matches(family, known, n=1)
        hint = f', did you mean tfds:{close[0]}?' if close else ':'
        raise UserError(
            f'--dataset=tfds:{name} is unknown to tensorflow-datasets {tfds.__version__}{hint} its catalog '
            'lists the names'
        ) from error


def prepared_builder(directory: str) -> tfds.core.DatasetBuilder:
    """Returns the builder of prepared files in a directory, such as --mode=prepare writes.

    Raises:
      UserError: the directory holds no files in the format of tensorflow-datasets, or they are damaged.
    """
    place = f'--dataset=tfrecords:{directory}'
    if not directory:
        raise UserError('--dataset=tfrecords needs a directory: give --dataset=tfrecords:DIR')
    if REMOTE not in directory and not os.path.isfile(os.path.join(directory, _METADATA)):
        raise UserError(
            f'{place} holds no {_METADATA}: give the --output_dir of --mode=prepare, or the version '
            'directory of a dataset of tensorflow-datasets'
        )
    try:
        return tfds.builder_from_directory(directory)
    except Exception as error:  # The parsers of the metadata raise errors of many kinds.
        raise UserError(f'{place} is damaged ({one_line(error)}): prepare it again') from error


def image_feature(builder: tfds.core.DatasetBuilder, place: str = '') -> str:
    """Returns the name of the feature that holds the pictures.

    Only features of type `Image`, uint8, at the top level count. If there are several, `image` is preferred;
    else the input in the dataset's `supervised_keys`; else the first in the alphabet.

    Args:
      builder: builder of the dataset.
      place: what the message calls the dataset, such as '--dataset=tfds:mnist'; '': its name in tfds.

    Raises:
      UserError: there is no such feature. If pictures are nested in other features, the message names them.
    """
    place = place or builder.info.full_name
    features = builder.info.features
    found = [name for name in _names(features) if _is_image(features[name])]
    nested = sorted(_nested_images(features))
    if not found and nested:
        raise UserError(
            f'{place} has pictures within other features alone ({", ".join(nested)}), which are not read: '
            'give a dataset with a feature of type Image at the top level'
        )
    if not found:
        raise UserError(f'{place} has no feature of type Image, uint8: its features are {_listed(features)}')
    return _first(['image', _supervised(builder, 0)], found) or found[0]


def label_feature(builder: tfds.core.DatasetBuilder) -> str | None:
    """Returns the name of the feature that holds the classes; None if there is none.

    Only features of type `ClassLabel` count. `label` is preferred; else the target in the dataset's
    `supervised_keys`; else the only such feature. If none is preferred among several, the result is None.

    Args:
      builder: builder of the dataset.
    """
    features = builder.info.features
    found = [name for name in _names(features) if isinstance(features[name], tfds.features.ClassLabel)]
    named = _first(['label', _supervised(builder, 1)], found)
    if named or len(found) != 1:
        return named
    return found[0]


def count_classes(builder: tfds.core.DatasetBuilder) -> int:
    """Returns the number of classes of the feature `label_feature`; 0 if there is none.

    Args:
      builder: builder of the dataset.
    """
    label = label_feature(builder)
    return builder.info.features[label].num_classes if label else 0


def _names(features: Any) -> list[str]:
    return sorted(features) if isinstance(features, tfds.features.FeaturesDict) else []


def _is_image(feature: Any) -> bool:
    return isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8


def _nested_images(feature: Any, path: str = '') -> Iterator[str]:
    """Yields the paths of the pictures within a feature, such as 'faces/image'."""
    if _is_image(feature):
        yield path
    elif isinstance(feature, tfds.features.FeaturesDict):
        for name in feature:
            yield from _nested_images(feature[name], f'{path}/{name}' if path else name)
    elif isinstance(feature, (tfds.features.Sequence, tfds.features.Dataset)):
        yield from _nested_images(feature.feature, path)


def _supervised(builder: tfds.core.DatasetBuilder, index: int) -> Any:
    keys = builder.info.supervised_keys
    return keys[index] if keys else None


def _first(names: list[Any], found: list[str]) -> str | None:
    return next((name for name in names if isinstance(name, str) and name in found), None)


def _listed(features: Any) -> str:
    return ', '.join(f'{name} ({type(features[name]).__name__})' for name in _names(features)) or 'none'
