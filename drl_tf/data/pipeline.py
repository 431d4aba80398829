"""The images of a dataset: in endless random order for training, and in order for evaluation."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, printable
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.core.guidance import network_labels
from drl_tf.data import dataset_table, digits, facts, images, indexed, plane, tfds_datasets, tfds_reading
from drl_tf.data.endless_points import endless_points
from drl_tf.data.tuning import THREADS, untuned

_ON_DISK = ('tfds', 'tfrecords')  # Sources in the format of tensorflow-datasets.
_BATCHES_AHEAD = 4
_MOST_NAMES = 20
_PART = 1000
_BYTES_OF_FLOAT64 = 8
_POINTS = 100_000


def prepare(data: config.Data) -> None:
    """Downloads and prepares a dataset if it is not on disk yet; prints the names of its classes.

    Args:
      data: options of the dataset.

    Raises:
      UserError: the dataset is unknown or damaged, has no images of `data.image_size`, or cannot be prepared.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source in _ON_DISK:
        tfds_datasets.open_builder(data)
    if spec.source in facts.OPEN:
        names = facts.OPEN[spec.source](data).class_names
        if data.num_classes and names:
            listed = ', '.join(f'{number} {name}' for number, name in enumerate(names[:_MOST_NAMES]))
            print(printable(f'classes: {listed}{", .." if len(names) > _MOST_NAMES else ""}'), flush=True)


def training_images(
    data: config.Data,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    rows: slice = slice(None),
    at_once: int | None = None,
) -> tf.data.Dataset:
    """Returns endless batches of training images; `data`, `seed` and `batch_size` decide their order.

    Batch n is the same whatever `first_step` and `rows` are, so that an interrupted run can continue, and
    several workers can share each batch.

    Each epoch has every image once, in a new order. Images that take at most 2 GiB stay in memory. If the
    user's own images take more, they are read one by one. Larger datasets of tensorflow-datasets are read in
    up to 16 parts side by side, and each part is shuffled by itself. Toy datasets have points of the plane
    instead of images, which are drawn anew for each batch.

    Args:
      data: options of the dataset.
      batch_size: images per batch.
      seed: int below 2^31.
      first_step: number of batches that were used before.
      rows: slice of each batch to return, such as the part of one worker; other images are not decoded.
      at_once: number of images in each element of the result. A divisor of the number of `rows` cuts each
        batch into equal elements, such as one for each device. None: an element has all images of `rows`.

    Returns:
      Dataset of images, float32 [at_once, H, W, C] in [-1, 1]; if `data.num_classes` is not 0, of pairs
      (images, labels), where a label is the class + 1, or 0 for no class, int32 [at_once].

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in size `data.image_size`.

    Example:
      batches = training_images(config.Data('digits'), batch_size=64, seed=0)
      images = next(iter(batches))  # [64, 32, 32, 1]
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    mirrors = dataset_table.mirrors(data)

    def finish(position: tf.Tensor, image_and_label: tuple[tf.Tensor, tf.Tensor]) -> Any:
        image, label = image_and_label
        if mirrors:
            image_seed = noise.fold(noise.root(seed, noise.MIRRORING), position)
            is_mirrored = tf.random.stateless_uniform([], image_seed) < 0.5
            image = tf.cond(is_mirrored, lambda: tf.reverse(image, [1]), lambda: image)
        image = pixels.from_levels(tf.cast(image, tf.float32))
        return (image, network_labels(label)) if data.num_classes else image

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = THREADS
    at_once = at_once or len(range(batch_size)[rows])
    if spec.source == 'toy':
        batches = endless_points(data.dataset, seed, batch_size, first_step, rows, at_once)
    else:
        drawn = _endless_images(data, seed, batch_size, first_step, rows)
        batches = drawn.map(finish, num_parallel_calls=THREADS).batch(at_once, drop_remainder=True)
    return untuned(batches.prefetch(_BATCHES_AHEAD).with_options(options))


def load_images(data: config.Data, split: str, limit: int | None = None) -> np.ndarray:
    """Loads the images of a split into memory, in a fixed order.

    Args:
      data: options of the dataset.
      split: 'train' or 'test'.
      limit: loads at most so many, the first ones, or of the user's own data random ones; None: all.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in size `data.image_size`.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'digits':
        return images.crop_and_resize(digits.load(split)[0][:limit], data).numpy()
    if spec.source in facts.OPEN:
        mine = indexed.load(data, split)
        if limit is None and mine.images is not None:
            return mine.images
        return np.concatenate(list(mine.batches(limit)))
    builder = tfds_datasets.open_builder(data)
    return tfds_reading.load(builder, tfds_datasets.split_name(builder, data, split), data, limit)


def image_batches(data: config.Data, split: str, limit: int | None = None) -> Iterator[np.ndarray]:
    """Yields the images of a split in order, in batches of at most 1,000, uint8 [n, H, W, C].

    Large datasets are not loaded into memory as a whole. `data` holds the options of the dataset. `split` is
    'train' or 'test'. `limit` is as in `load_images`.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source in _ON_DISK:
        builder = tfds_datasets.open_builder(data)
        name = tfds_datasets.split_name(builder, data, split)
        yield from tfds_reading.batches(builder, name, data, limit)
        return
    if spec.source in facts.OPEN:
        yield from indexed.load(data, split).batches(limit)
        return
    everything = load_images(data, split, limit)
    for first in range(0, len(everything), _PART):
        yield everything[first : first + _PART]


def noisy_set(data: config.Data) -> tuple[np.ndarray, np.ndarray]:
    """Loads the clean training images of --energy=exact, which computes the density of their noisy versions.

    If training on this dataset mirrors images at random, each image is followed by its mirror image.

    Args:
      data: options of the dataset; `exact_images` is the largest N to return, mirror images included; 0: all.

    Returns:
      Images, uint8 [N, H, W, C], and labels, int32 [N]: class + 1, or 0 for no class.

    Raises:
      UserError: the images take too much memory, or the dataset is unknown, missing or damaged.
    """
    data = dataset_table.resolve(data)
    copies = 2 if dataset_table.mirrors(data) else 1
    count = copies * count_images(data, 'train')
    count = min(count, data.exact_images or count)
    if not images.fit_in_memory(_BYTES_OF_FLOAT64 * count, data):
        raise UserError(
            f'--energy=exact needs {count:,} images in memory in float64, more than '
            f'{images.MAX_BYTES_IN_MEMORY / 2**30:g} GiB: give a smaller --exact_images'
        )
    needed = -(-count // copies)
    found = load_images(data, 'train', needed)
    labels = np.zeros(len(found), np.int32)
    if data.num_classes:
        labels = network_labels(load_labels(data, 'train', needed))
    if copies == 2:
        found = np.stack([found, found[:, :, ::-1]], axis=1).reshape(-1, *found.shape[1:])
        labels = np.repeat(labels, 2)
    return found[:count], labels[:count]


def mean_and_std(data: config.Data) -> tuple[tuple[float, ...], float]:
    """Measures mean and standard deviation of the training images of `data`, scaled to [-1, 1].

    Returns:
      The mean of each channel; and one number, the standard deviation of all pixels around these means.

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in size `data.image_size`.
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
    """Counts the images of a split, 'train' or 'test'; raises UserError for missing or damaged data."""
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source in _ON_DISK:
        builder = tfds_datasets.open_builder(data)
        return tfds_reading.count(builder, tfds_datasets.split_name(builder, data, split), data)
    if spec.source in facts.OPEN:
        return len(indexed.load(data, split))
    return len(load_images(data, split))


def load_labels(data: config.Data, split: str, limit: int | None = None) -> np.ndarray:
    """Returns the class, from 0 (-1: none), of each image that `load_images` returns for the same arguments.

    The result is int32 [N]. `data` are options of a dataset that has classes.

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in size `data.image_size`.
    """
    data = dataset_table.resolve(data)
    spec = dataset_table.find_spec(data.dataset)
    if spec.source == 'digits':
        return digits.load(split)[1][:limit]
    if spec.source in facts.OPEN:
        mine = indexed.load(data, split)
        return mine.labels[mine.places(limit)]
    builder = tfds_datasets.open_builder(data)
    return tfds_reading.load_labels(builder, tfds_datasets.split_name(builder, data, split), data)[:limit]


def _endless_images(
    data: config.Data, seed: int, batch_size: int, first_step: int, rows: slice
) -> tf.data.Dataset:
    """Returns the rows of all batches from `first_step` on, one image at a time.

    Returns:
      Dataset of positions, int64 [], and pairs (image uint8 [H, W, C], class int32 [], counted from 0).
    """
    steps = tf.data.Dataset.counter(first_step)
    positions = steps.map(
        lambda step: step * batch_size + tf.range(batch_size, dtype=tf.int64)[rows]
    ).unbatch()
    spec = dataset_table.find_spec(data.dataset)
    if spec.source in _ON_DISK:
        builder = tfds_datasets.open_builder(data)
        split = tfds_datasets.split_name(builder, data, 'train')
        if not images.fit_in_memory(tfds_reading.count(builder, split, data), data):
            streamed = tfds_reading.stream(builder, split, data, seed, batch_size, first_step, rows)
            return tf.data.Dataset.zip(positions, streamed)
    with tf.device('CPU'):
        count, read, labels = _random_access(data)

    def pick(position: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), position // count])
        index = tf.random.experimental.index_shuffle(position % count, epoch_seed, count - 1)
        return position, (read(index), labels[index])

    return positions.map(pick, num_parallel_calls=THREADS)


def _random_access(data: config.Data) -> tuple[int, Callable[[tf.Tensor], tf.Tensor], tf.Tensor]:
    """Returns three things: N, a function index -> training image uint8 [H, W, C], and classes int32 [N]."""
    if dataset_table.find_spec(data.dataset).source in facts.OPEN:
        mine = indexed.load(data, 'train')
        if mine.images is None:
            return len(mine), mine.read_at, tf.constant(mine.labels)
    everything = tf.constant(load_images(data, 'train'))
    count = len(everything)
    classes = load_labels(data, 'train') if data.num_classes else np.zeros(count, np.int32)
    if (classes < 0).all():
        raise UserError(f'--dataset={data.dataset}: all labels are -1, no class: drop --num_classes')
    return count, lambda index: everything[index], tf.constant(classes)
