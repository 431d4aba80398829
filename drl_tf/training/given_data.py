"""Checks the images that a user gives to `EnergyModel.fit`, and makes batches of them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.core.guidance import classes_of, network_labels
from drl_tf.data.tuning import untuned
from drl_tf.runs.inputs import LARGEST_VALUE

if TYPE_CHECKING:
    from drl_tf.runs.inputs import Inputs

_FAILED = re.compile(r'assertion failed: \[(.*)\]')


@dataclasses.dataclass(frozen=True)
class GivenData:
    """The images that a user gave to train on, after the checks.

    Attributes:
      images: dataset of single images, float32 [H, W, C] in [-1, 1]. For a model with classes, it holds
        pairs (image, label); the label is the class + 1, or 0 for no class, int32 [].
      count: number of images; None if it is not known.
      batch_size: number of images in each batch of the dataset that the user gave; None if the user gave
        arrays, or a dataset of single images or of batches of unknown size.
      shuffled: whether `batches` shuffles the images: True for arrays, False for a `tf.data.Dataset`.
    """

    images: tf.data.Dataset
    count: int | None
    batch_size: int | None = None
    shuffled: bool = False

    def batches(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Returns an endless dataset of batches, which goes through the images again and again.

        Args:
          batch_size: images per batch.
          seed: seed of the random order of the images; not used if `shuffled` is False.

        Returns:
          Dataset of images, float32 [batch_size, H, W, C]. For a model with classes, it holds pairs (images,
          labels); a label is the class + 1, or 0 for no class, int32 [batch_size].
        """
        images = self.images.shuffle(self.count, seed) if self.shuffled else self.images
        return untuned(images.repeat().batch(batch_size, drop_remainder=True))

    def num_batches(self, batch_size: int) -> int:
        """Returns the number of whole batches in one pass over the images.

        Raises:
          UserError: the dataset has no end, or fewer images than one batch.
        """
        count = self.count
        if count is None:
            if self.images.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise UserError('the dataset has no end: give steps_per_epoch')
            with refused_values():
                count = int(self.images.reduce(0, lambda count, _: count + 1))
        if count < batch_size:
            raise UserError(f'the dataset holds {count} images, too few for batch_size={batch_size}')
        return count // batch_size


def given(inputs: Inputs, images: Any, labels: Any) -> GivenData:
    """Checks the images and labels that a user gave to `fit`, and prepares them for training.

    Args:
      inputs: the `Inputs` object of the model: it checks image shapes and classes against the configuration.
      images: array, uint8 or floats in [-1, 1], [n, H, W, C]; or a `tf.data.Dataset` of single images or of
        batches of images. If the model has classes, the dataset holds pairs (image, class) or batches of
        such pairs.
      labels: class of each image, counted from 0, or -1 for no class, [n]. None if the model has no classes,
        or if `images` is a dataset.

    Returns:
      A `GivenData`, whose method `batches` makes the batches to train on.

    Raises:
      UserError: an argument has a wrong shape or type or is out of range. The values in a dataset are
        checked later, when they are read.
    """
    has_classes = bool(inputs.config.data.num_classes)
    if isinstance(images, tf.data.Dataset):
        if labels is not None:
            raise UserError('labels must be in the dataset, as pairs (images, labels)')
        return _of_dataset(inputs, images)
    x = inputs.clean(images)
    if has_classes and labels is None:
        raise UserError('labels must be given: the model has classes (-1 is no class)')
    labels = inputs.labels(labels, len(x))
    data = (x, network_labels(labels)) if has_classes else x
    return GivenData(tf.data.Dataset.from_tensor_slices(data), len(x), shuffled=True)


def held_out(inputs: Inputs, data: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Checks the argument `validation_data` of `fit`, and returns it as arrays.

    Args:
      inputs: the `Inputs` object of the model: it checks image shapes and classes against the configuration.
      data: one of three forms. An array of images, uint8 or floats in [-1, 1], [n, H, W, C]. A tuple
        (images, classes) of arrays. A finite `tf.data.Dataset` of images or of pairs (image, class), single
        ones or batches.

    Returns:
      Pair of the images, float32 [n, H, W, C] in [-1, 1], and their classes, int32 [n], -1 for no class. The
      classes are None for a model without classes.

    Raises:
      UserError: the data have a wrong shape or type, or are out of range.
    """
    if isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise UserError('validation_data must end: use take(number of batches)')
        return arrays(inputs, _of_dataset(inputs, data).images)
    parts = data if isinstance(data, tuple) else (data, None)
    if len(parts) != 2:
        raise UserError(f'validation_data is a tuple of {len(parts)}: give images, or (images, labels)')
    images, labels = parts
    x = inputs.clean(images)
    return x, inputs.labels(labels, len(x))


def arrays(inputs: Inputs, images: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a whole dataset of images into memory.

    Args:
      inputs: the `Inputs` object of the model, which here only tells whether the model has classes.
      images: dataset of single images, float32 [H, W, C]. For a model with classes, it holds pairs (image,
        label), where the label is the class + 1, or 0 for no class.

    Returns:
      Pair of the images, float32 [n, H, W, C], and their classes, int32 [n], -1 for no class. The classes are
      None for a model without classes.

    Raises:
      UserError: the dataset is empty, or holds a value out of range.
    """
    with refused_values():
        rows = list(images.as_numpy_iterator())
    if not rows:
        raise UserError('validation_data holds no image')
    if not inputs.config.data.num_classes:
        return np.stack(rows), None
    x, labels = zip(*rows, strict=True)
    return np.stack(x), classes_of(np.array(labels, np.int32))


def _of_dataset(inputs: Inputs, dataset: tf.data.Dataset) -> GivenData:
    config = inputs.config
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    if len(parts) != 1 + bool(config.data.num_classes):
        wanted = 'pairs (images, labels)' if config.data.num_classes else 'images: the model has no classes'
        raise UserError(f'the dataset holds {len(parts)} parts in each element: give {wanted}')
    if not isinstance(parts[0], tf.TensorSpec):
        raise UserError(f'the dataset holds a {type(parts[0]).__name__} for each image: give tensors')
    shape = parts[0].shape
    if shape.rank not in (3, 4) or not shape[-3:].is_compatible_with(config.image_shape):
        wanted = ', '.join(map(str, config.image_shape))
        raise UserError(f'the dataset holds images of shape {shape}: give [{wanted}], or batches of these')
    if parts[0].dtype != tf.uint8 and not parts[0].dtype.is_floating:
        raise UserError(f'the dataset holds images of type {parts[0].dtype.name}: give uint8 or floats')
    if config.data.num_classes:
        _check_labels(parts[1], shape.rank - 3)
    count = int(dataset.cardinality())
    single = dataset.unbatch() if shape.rank == 4 else dataset
    kept = count if shape.rank == 3 and count >= 0 else None
    batch_size = shape[0] if shape.rank == 4 else None
    return GivenData(single.map(lambda *element: _checked(config, *element)), kept, batch_size)


def _check_labels(spec: tf.TypeSpec, rank: int) -> None:
    """Raises UserError if the labels of a dataset are known to have another rank, 0 for single images."""
    if not isinstance(spec, tf.TensorSpec):
        raise UserError(f'the dataset holds a {type(spec).__name__} for each label: give tensors')
    if spec.shape.rank not in (None, rank):
        wanted = 'batches of whole numbers, [n]' if rank else 'one whole number per image, []'
        raise UserError(f'the dataset holds labels of shape {spec.shape}: give {wanted}')


def _checked(config: Any, image: tf.Tensor, label: tf.Tensor | None = None) -> Any:
    """Scales an image to [-1, 1] and checks its values; maps its class to the label of the networks."""
    x = tf.ensure_shape(tf.cast(image, tf.float32), config.image_shape)
    if image.dtype == tf.uint8:
        x = pixels.from_levels(x)
    limit = np.inf if config.planar else LARGEST_VALUE
    sound = tf.reduce_all(tf.math.is_finite(x)) & (tf.reduce_max(tf.abs(x)) <= limit)
    with tf.control_dependencies([tf.debugging.Assert(sound, ['images must be finite and within [-1, 1]'])]):
        x = tf.identity(x)
    if label is None:
        return x
    # In int64, because -1 is 255 in uint8.
    label = tf.cast(tf.ensure_shape(label, []), tf.int64)
    known = (label >= -1) & (label < config.data.num_classes)
    message = f'labels must be from -1 to {config.data.num_classes - 1}'
    with tf.control_dependencies([tf.debugging.Assert(known, [message])]):
        return x, network_labels(tf.cast(label, tf.int32))


@contextlib.contextmanager
def refused_values() -> Iterator[None]:
    """Context manager for reading the user's dataset: makes errors about values out of range short.

    TensorFlow's long error about an image or a label out of range becomes a `UserError` of one line.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _FAILED.search(error.message)
        if found is None:
            raise
        raise UserError(f'the dataset: {found[1]}') from error
