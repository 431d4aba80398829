"""Opens a dataset that the user's Python code has registered."""

from typing import Any

import numpy as np

from drl_tf.base.errors import UserError, one_line
from drl_tf.config import config
from drl_tf.data import registry
from drl_tf.data.opened import MOST_CLASSES, Opened, Pictures, count_classes


def open_data(data: config.Data) -> Opened:
    """Opens a dataset that the user has registered: calls the user's function for both splits.

    Args:
      data: options of the dataset; `dataset` is the registered name, or 'python:' and this name.

    Returns:
      The training and the test pictures, and their classes. The test pictures are None if the function
      returns None for the test split.

    Raises:
      UserError: no function has this name, or it raises an error or returns something other than images
        and labels.
    """
    place = f'--dataset={data.dataset}'
    name = data.dataset.removeprefix('python:')
    train = _split(name, 'train', place)
    test = _split(name, 'test', place)
    if train is None:
        raise UserError(f'{place}: its function returns no images of the training split: return some')
    if test and (test.labels is None) != (train.labels is None):
        raise UserError(f'{place}: its function returns labels of one split alone: return both, or none')
    return Opened(
        place=place,
        train=train,
        test=test,
        num_classes=count_classes(train.labels, test.labels if test else None),
        image_shape=train.read(0).shape if train.uniform else None,
    )


def _split(name: str, split: str, place: str) -> Pictures | None:
    """Calls the function for one split; returns its pictures, or None if the function returns None."""
    found = registry.find(name)
    if found is None:
        raise UserError(
            f'{place} is not registered in this process: import the module that registers it, or give it '
            f'an entry point in the group {registry.GROUP}'
        )
    try:
        result = found.function(split)
        images, labels = result if isinstance(result, tuple) else (result, None)
        if images is None:
            return None
        count = len(images)
        uniform = isinstance(images, np.ndarray) and not images.dtype.hasobject
        if count and uniform:
            _checked(images[0])
        labels = labels if labels is None else np.asarray(labels)
    except Exception as error:  # The function is the user's own code.
        raise UserError(
            f'{place}: its function failed on the {split} split ({one_line(error)}): repair it'
        ) from error
    if not count:
        raise UserError(f'{place}: its function returns no images of the {split} split: return some')
    if labels is not None and not _are_classes(labels, count):
        raise UserError(
            f'{place}: its labels of the {split} split must be {count} whole numbers from 0, below '
            f'{MOST_CLASSES:,}, or -1 for no class, one for each image'
        )
    return Pictures(
        count=count,
        read=lambda index: _checked(images[index]),
        name=lambda index: f'{name}: {split} picture {index}',
        labels=labels if labels is None else labels.astype(np.int32),
        uniform=uniform,
    )


def _are_classes(labels: np.ndarray, count: int) -> bool:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        return False
    return bool(labels.min() >= -1 and labels.max() < MOST_CLASSES)


def _checked(picture: Any) -> np.ndarray:
    """Returns a picture as uint8 [h, w, c]; raises ValueError if its type or shape is wrong."""
    picture = np.asarray(picture)
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] not in (1, 3) or not picture.size:
        raise ValueError(
            f'a picture is {picture.dtype} {list(picture.shape)}, not uint8 [h, w], [h, w, 1] or [h, w, 3]'
        )
    return picture
