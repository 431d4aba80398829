"""Decodes and checks requests to an exported model, within the TensorFlow graph."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from drl_tf.base import pixels

Spec = tuple[str, list[int | None], tf.DType]  # Name, shape and type of an input.


def decode_png(files: tf.Tensor, image_shape: Sequence[int]) -> tf.Tensor:
    """Decodes PNG files to images in [-1, 1].

    Files are converted to grey or colour, as the model needs; transparency is dropped.

    Args:
      files: the bytes of n PNG files, string [n].
      image_shape: (H, W, C) of the model's images.

    Returns:
      float32 [n, H, W, C].

    Raises:
      tf.errors.InvalidArgumentError: a file is not a PNG, is damaged, or has another size.
    """
    height, width, channels = image_shape
    begin = b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', width, height)
    files = shaped(files, None)
    begins = tf.reduce_all(tf.equal(tf.strings.substr(files, 0, len(begin)), begin))
    right = tf.debugging.Assert(begins, [f'images_bytes must be PNG files of {width} x {height} pixels'])
    with tf.control_dependencies([right]):
        files = tf.identity(files)
    spec = tf.TensorSpec([None, None, channels], tf.uint8)
    grey_levels = tf.map_fn(lambda file: tf.io.decode_png(file, channels), files, fn_output_signature=spec)
    return shaped(pixels.from_levels(tf.cast(grey_levels, tf.float32)), None, *image_shape)


def grey_levels(images: tf.Tensor) -> tf.Tensor:
    """Converts images in [-1, 1] to uint8, with clipping; uint8 images stay as they are."""
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(tf.round(pixels.to_levels(images)), 0, 255), tf.uint8)


def shaped(value: tf.Tensor, *shape: int | None) -> tf.Tensor:
    """Returns `value` with a check of its shape. Use the result: only then does the graph run the check.

    Args:
      value: the tensor to check.
      *shape: the required size of each dimension; None: any size.
    """
    return tf.ensure_shape(value, shape)


def within(value: tf.Tensor, low: float, high: float, name: str) -> tuple[tf.Operation, tf.Operation]:
    """Builds two assertions, which fail if an element of `value` is below `low`, above `high` or NaN.

    Pass them to `tf.control_dependencies`, so that they run before the value is used.

    Args:
      value: the tensor to check.
      low: the smallest allowed value.
      high: the largest allowed value.
      name: name of the value, for the error message.
    """
    message = f'{name} must be from {low} to {high}'
    return (
        tf.debugging.assert_greater_equal(value, tf.cast(low, value.dtype), message),
        tf.debugging.assert_less_equal(value, tf.cast(high, value.dtype), message),
    )


def traced(function: Callable[..., dict[str, tf.Tensor]], specs: Sequence[Spec]) -> Any:
    """Traces a function into a concrete function, to be saved as a signature by `tf.saved_model.save`.

    Args:
      function: the function; it returns a dict of tensors.
      specs: (name, shape, dtype) of each argument; None in a shape means any size.
    """
    inputs = {name: tf.TensorSpec(shape, dtype, name) for name, shape, dtype in specs}
    return tf.function(function, autograph=False).get_concrete_function(**inputs)
