"""Images for training, in an endless order that is a function of the seed, and for evaluation."""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.core.guidance import network_labels
from drl_tf.data import dataset_table, digits, folder, images, plane, tfds_datasets, tfds_reading

_THREADS = len(os.sched_getaffinity(0))
_PART = 1000
_POINTS = 100_000


def prepare(data: config.Data):
    """Has a dataset on disk, after download and preparation where need be.

    Raises:
      UserError: as for `training_images`.
    """
    data = dataset_table.resolve(data)
    if dataset_table.find_spec(data.dataset).source == 'tfds':
        tfds_datasets.open_builder(data)


def training_images(
    data: config.Data,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    rows: slice = slice(None),
    at_once: int | None = None,
) -> tf.data.Dataset:
    """Batches of the training split without end.

    Batch n holds the positions from n * `batch_size` on of an endless sequence. Images are held in memory if
    they take at most 2 GiB: position p is image p mod N, in a permutation from (seed, epoch), of epoch p div
    N. Else they are read from disk, in up to 16 strands that have their own images and rows of the batch:
    each strand goes through its images once before any comes again, see `tfds_reading.stream`. Whether an
    image is mirrored depends on (seed, p). So batch n is the same wherever a run starts, and whoever wants
    which rows. Points of the plane have no end: batch n is drawn from (seed, n).

    Args:
      data: dataset, image size and channels; zeros take the dataset's own.
      batch_size: images per batch.
      seed: int below 2^31.
      first_step: number of batches already used.
      rows: which consecutive images of each batch are wanted; no others are decoded, nor are other strands
        read.
      at_once: how many of them come at once; all where None.

    Returns:
      Dataset of float32 [at_once, H, W, C] within [-1, 1]; with `data.num_classes`, of pairs with classes,
      int32 [at_once] from 1 (0 is no class).

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in that size.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)

    def finish(position, image_and_label):
        image, label = image_and_label
        if spec.flip:
            mirrored = (
                tf.random.stateless_uniform([], noise.fold(noise.root(seed, noise.MIRRORING), position)) < 0.5
            )
            image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        image = pixels.from_levels(tf.cast(image, tf.float32))
        return (image, network_labels(label)) if data.num_classes else image

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = _THREADS
    at_once = at_once or len(range(batch_size)[rows])
    if spec.source == 'toy':
        batches = _endless_points(data.dataset, seed, first_step, batch_size, rows).rebatch(at_once)
    else:
        drawn = _endless_images(data, seed, batch_size, first_step, rows)
        batches = drawn.map(finish, num_parallel_calls=_THREADS).batch(at_once, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def load_images(data: config.Data, split: str, limit: int | None = None) -> np.ndarray:
    """Images of a split in a fixed order, never mirrored, all in memory.

    Args:
      data: dataset, image size and channels; zeros take the dataset's own.
      split: 'train' or 'test'.
      limit: number of images at most, from the first.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: as for `training_images`.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'digits':
        return images.crop_and_resize(digits.load(split)[0][:limit], data).numpy()
    if spec.source == 'folder':
        return folder.load(data, split)[:limit]
    return tfds_reading.load(tfds_datasets.open_builder(data), _split_of(spec, split), data, limit)


def image_batches(data: config.Data, split: str, limit: int | None = None) -> Iterator[np.ndarray]:
    """Yields the images of `load_images` in parts, uint8 [n, H, W, C]; those of tensorflow-datasets are never
    all in memory."""
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'tfds':
        resolved = dataset_table.resolve(data)
        yield from tfds_reading.batches(
            tfds_datasets.open_builder(resolved), _split_of(spec, split), resolved, limit
        )
        return
    everything = load_images(data, split, limit)
    for first in range(0, len(everything), _PART):
        yield everything[first : first + _PART]


def mean_and_std(data: config.Data) -> tuple[tuple[float, ...], float]:
    """Measures the training images in [-1, 1], or points of the plane, to six digits.

    Returns:
      The mean of each channel, and the standard deviation of all pixels around it.

    Raises:
      UserError: as for `training_images`.
    """
    data = dataset_table.resolve(data)
    if dataset_table.find_spec(data.dataset).source == 'toy':
        parts = iter([plane.points(data.dataset, 0, 0, _POINTS)])
    else:
        parts = (pixels.from_levels(np.float64(part)) for part in image_batches(data, 'train'))
    count = 0
    total = np.zeros(data.image_channels)
    squares = np.zeros(data.image_channels)
    for part in parts:
        count += part[..., 0].size
        total += part.sum(axis=(0, 1, 2), dtype=np.float64)
        squares += np.square(part, dtype=np.float64).sum(axis=(0, 1, 2))
    mean = total / count
    std = np.sqrt(np.mean(squares / count - mean**2))
    return tuple(round(float(value), 6) for value in mean), round(float(std), 6)


def count_images(data: config.Data, split: str) -> int:
    """How many images a split has; raises UserError as `training_images` does."""
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'tfds':
        return tfds_reading.count(
            tfds_datasets.open_builder(dataset_table.resolve(data)), _split_of(spec, split)
        )
    return len(load_images(data, split))


def _split_of(spec, split):
    return {'train': spec.train_split, 'test': spec.test_split}[split]


def load_labels(data: config.Data, split: str) -> np.ndarray:
    """Classes of a split in the order of `load_images`, int32 [N] from 0.

    Args:
      data: a dataset that has classes.
      split: 'train' or 'test'.

    Raises:
      UserError: as for `training_images`.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'digits':
        return digits.load(split)[1]
    return tfds_reading.load_labels(tfds_datasets.open_builder(data), _split_of(spec, split))


def _endless_images(data, seed, batch_size, first_step, rows):
    """Dataset of those rows of each batch from a step on: positions, int64 [], and (uint8 [H, W, C], classes
    from 0, int32 [])."""
    steps = tf.data.Dataset.counter(first_step)
    positions = steps.map(
        lambda step: step * batch_size + tf.range(batch_size, dtype=tf.int64)[rows]
    ).unbatch()
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'tfds':
        builder = tfds_datasets.open_builder(data)
        if not images.fit_in_memory(tfds_reading.count(builder, spec.train_split), data):
            streamed = tfds_reading.stream(
                builder, spec.train_split, data, seed, batch_size, first_step, rows
            )
            return tf.data.Dataset.zip(positions, streamed)
    with tf.device('CPU'):
        everything = tf.constant(load_images(data, 'train'))
        labels = tf.constant(
            load_labels(data, 'train') if data.num_classes else np.zeros(len(everything), np.int32)
        )
    count = len(everything)

    def pick(position):
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // count])
        index = tf.random.experimental.index_shuffle(position % count, epoch_seed, count - 1)
        return position, (everything[index], labels[index])

    return positions.map(pick, num_parallel_calls=_THREADS)


def _endless_points(name, seed, first_step, batch_size, rows):
    """Dataset of those rows of each batch, float32 [n, 1, 1, 2], from a step on."""

    def draw(step):
        points = tf.numpy_function(
            lambda step: plane.points(name, seed, int(step), batch_size)[rows], [step], tf.float32
        )
        return tf.ensure_shape(points, [len(range(batch_size)[rows]), *plane.IMAGE_SHAPE])

    return tf.data.Dataset.counter(first_step).map(draw)
