"""Crops and resizes pictures of any size to images of one shape."""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.config import config
from drl_tf.data import dataset_table

MAX_BYTES_IN_MEMORY = 2 * 2**30
_PADDED_SIZE = 32
_ROWS_CUT = 20


def fit_in_memory(count: int, data: config.Data) -> bool:
    """Returns whether `count` images of a dataset take at most 2 GiB as uint8.

    Args:
      count: number of images.
      data: options of the dataset, which give the image shape.
    """
    return count * math.prod(data.image_shape) <= MAX_BYTES_IN_MEMORY


def decode(encoded: Any, channels: int) -> tf.Tensor:
    """Decodes the bytes of a JPEG, PNG, GIF, BMP or WebP file; of an animation, only the first picture.

    Args:
      encoded: the bytes, string [].
      channels: number of channels of the result: 1 (grey) or 3 (RGB).

    Returns:
      uint8 [h, w, channels].
    """
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)


def crop_and_resize(pictures: Any, data: config.Data) -> tf.Tensor:
    """Crops and resizes pictures to the image shape of a dataset, and converts between grey and colour.

    The attribute `crop` of the dataset's `DatasetSpec` says how to crop, for instance to the proportions of
    the images. Resizing uses antialiasing. Smaller pictures are enlarged, with one warning per dataset.

    Args:
      pictures: one picture, uint8 [h, w, c], or several, uint8 [n, h, w, c]; c is 1 or 3.
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.

    Returns:
      uint8 [H, W, C] or [n, H, W, C], where (H, W, C) is the image shape of the dataset.
    """
    rule = dataset_table.find_spec(data.dataset).crop
    height, width, _ = data.image_shape
    pictures = _crop(tf.convert_to_tensor(pictures), rule, height, width)
    sides = zip(pictures.shape[-3:-1], (height, width), strict=True)
    if any(side is not None and side < wanted for side, wanted in sides):
        _warn_of_enlarging(data)
    return _resized(pictures, data.image_shape, 'area' if rule == 'pad' else 'bilinear')


def to_shape(picture: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Crops and resizes one picture as `crop_and_resize` does with the user's own pictures.

    Args:
      picture: uint8 [h, w, c]; c is 1 or 3.
      image_shape: (H, W, C) of the result.

    Returns:
      uint8 [H, W, C]: the largest centred rectangle of the proportions H : W, resized with antialiasing.

    Example:
      >>> to_shape(np.full([40, 60, 3], 255, np.uint8), (16, 16, 1)).shape
      (16, 16, 1)
    """
    height, width, _ = image_shape
    cropped = _central_rectangle(tf.convert_to_tensor(picture), height, width)
    return _resized(cropped, image_shape, 'bilinear').numpy()


def _resized(pictures: tf.Tensor, image_shape: tuple[int, int, int], method: str) -> tf.Tensor:
    """Returns pictures in the size and the channels of `image_shape`, uint8."""
    height, width, channels = image_shape
    if pictures.shape[-3:] == [height, width, channels]:
        return pictures
    with tf.device('CPU'):  # A GPU may round the colours differently.
        images = tf.image.resize(tf.cast(pictures, tf.float32), [height, width], method, antialias=True)
        if images.shape[-1] == 3 and channels == 1:
            images = tf.image.rgb_to_grayscale(images)
        elif images.shape[-1] == 1 and channels == 3:
            images = tf.image.grayscale_to_rgb(images)
        return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)


@functools.cache
def _warn_of_enlarging(data: config.Data) -> None:
    logging.warning(
        'Pictures of %s are smaller than --image_size=%d: enlarged', data.dataset, data.image_size
    )


def _crop(pictures: tf.Tensor, rule: str, height: int, width: int) -> tf.Tensor:
    if rule == 'pad':
        return tf.image.resize_with_crop_or_pad(pictures, _PADDED_SIZE, _PADDED_SIZE)
    if rule == 'rows':
        return pictures[..., _ROWS_CUT:-_ROWS_CUT, :, :]
    if rule == 'square':
        return _central_rectangle(pictures, height, width)
    return pictures


def _central_rectangle(pictures: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Cuts out the largest centred rectangle whose sides have the ratio `height` : `width`."""
    rows, columns = (pictures.shape[axis] or tf.shape(pictures)[axis] for axis in (-3, -2))
    known = isinstance(rows, int) and isinstance(columns, int)
    least, most = (min, max) if known else (tf.minimum, tf.maximum)
    rows_kept = least(rows, most((2 * columns * height + width) // (2 * width), 1))  # Rounded.
    columns_kept = least(columns, most((2 * rows * width + height) // (2 * height), 1))
    top = (rows - rows_kept) // 2
    left = (columns - columns_kept) // 2
    return pictures[..., top : top + rows_kept, left : left + columns_kept, :]
