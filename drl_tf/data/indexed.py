"""Gives access by index to the images of the user's own data, from memory or from the files."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError, printable
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.data import dataset_table, facts, images
from drl_tf.data.opened import Opened, Pictures, check_classes, warn_of_unlabelled, warn_of_untrained

_HELD_OUT_EVERY = 20
_THREADS = 4
_PART = 1000
_CHECKED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Split:
    """The N images of a split of the user's data, in order and without broken ones; `len` gives N.

    Attributes:
      images: the images, uint8 [N, H, W, C]; None if they do not fit in memory.
      pictures: the pictures as stored, of any size, broken ones included.
      rows: for each image, its index in `pictures`, int64 [N].
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
    """

    images: np.ndarray | None
    pictures: Pictures
    rows: np.ndarray
    data: config.Data

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """The number of each image's class, int32 [N]: 0 for the first class, -1 for an unlabelled image.

        If the data or the model have no classes at all, every entry is 0.
        """
        if not self.data.num_classes or self.pictures.labels is None:
            return np.zeros(len(self), np.int32)
        return self.pictures.labels[self.rows]

    def batches(self, limit: int | None = None) -> Iterator[np.ndarray]:
        """Yields the images in batches of at most 1,000, uint8 [n, H, W, C].

        Args:
          limit: yields at most so many images, those that `places` names; None: all.
        """
        places = self.places(limit)
        for first in range(0, len(places), _PART):
            part = places[first : first + _PART]
            yield self.images[part] if self.images is not None else self._read(self.rows[part])

    def places(self, limit: int | None = None) -> np.ndarray:
        """Returns the numbers of `limit` random images, int64 [n], in order; None: of all images."""
        return random_places(len(self) if limit is None else limit, len(self))

    def names(self, limit: int | None = None) -> list[str]:
        """Returns the names of the images that `batches` yields, such as their paths, in printable form."""
        return [printable(self.pictures.name(int(row))) for row in self.rows[self.places(limit)]]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            return np.stack(list(pool.map(self._read_one, rows)))

    def _read_one(self, row: int) -> np.ndarray:
        return _image(self.pictures, int(row), self.data)

    def read_at(self, index: tf.Tensor) -> tf.Tensor:
        """Reads one image within a `tf.data` pipeline.

        Args:
          index: number of the image, from 0 to N - 1, int64 [].

        Returns:
          uint8 [H, W, C].
        """
        read = tf.numpy_function(self._read_one, [tf.constant(self.rows)[index]], tf.uint8)
        return tf.ensure_shape(read, self.data.image_shape)


def random_places(count: int, total: int) -> np.ndarray:
    """Chooses `count` of `total` images at random, the same ones on every call and every machine.

    Data may be ordered by class, or their classes may take turns, so neither the first images nor every n-th
    one would stand for all.

    Returns:
      The numbers of the images in increasing order, int64 [n]; those of all images if `count` is not smaller
      than `total`.

    Examples:
      >>> random_places(3, 100).tolist()
      [1, 9, 26]
      >>> random_places(3, 2).tolist()
      [0, 1]
    """
    if count >= total:
        return np.arange(total)
    with tf.device('CPU'):
        seed = tf.constant(noise.root(0, noise.HELD_OUT), tf.int32)
        shuffled = tf.random.experimental.index_shuffle(tf.range(total), seed, total - 1)
    return np.flatnonzero(shuffled.numpy() < count)


def load(data: config.Data, split: str) -> Split:
    """Loads a split of the user's own data, cropped and resized.

    If the data have no test split, one picture in twenty is held out, at least one: from a folder every 20th,
    from other data at random with a fixed seed. A single picture is in both splits. Broken pictures are
    skipped, each with a warning.

    If the images of both splits take at most 2 GiB, they stay in memory. Otherwise they are decoded once to
    find broken ones, and read again when they are used.

    Args:
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
      split: 'train' or 'test'.

    Returns:
      A `Split`, which gives the images in batches or by index, their classes, and their number.

    Raises:
      UserError: the data are missing or damaged, no picture is usable, or the number of classes differs from
        the option `num_classes`.
    """
    # The cache key lacks the measured options: measuring images must not make `load` read them again.
    return _splits(dataclasses.replace(data, data_mean=(), data_std=0.0, flip='auto'))[split]


def forget() -> None:
    """Drops the images that `load` keeps in memory; the next `load` reads the files again."""
    _splits.cache_clear()


@functools.lru_cache(maxsize=1)
def _splits(data: config.Data) -> dict[str, Split]:
    opened = facts.OPEN[dataset_table.find_spec(data.dataset).source](data)
    if data.num_classes:
        check_classes(opened.num_classes, data.num_classes, opened.place)
        warn_of_unlabelled(opened.train.labels, opened.place, 'train')
        warn_of_unlabelled(opened.test.labels if opened.test else None, opened.place, 'test')
    splits = _usable_splits(opened, data)
    if data.num_classes:
        warn_of_untrained(splits['train'].labels, opened)
    return splits


def _usable_splits(opened: Opened, data: config.Data) -> dict[str, Split]:
    """Decodes all pictures, and holds out test images if the data have no test split."""
    total = opened.train.count + (opened.test.count if opened.test else 0)
    fits = images.fit_in_memory(total, data)
    train = _usable(opened.train, data, opened.place, fits)
    if opened.test:
        return {'train': train, 'test': _usable(opened.test, data, opened.place, fits)}
    if len(train) == 1:
        return {'train': train, 'test': train}
    held_out = _held_out(len(train), opened.every_20th)
    return {'train': _part(train, ~held_out), 'test': _part(train, held_out)}


def _held_out(count: int, every_20th: bool) -> np.ndarray:
    """Chooses the held-out images, one in twenty; returns bool [count], True for a held-out image."""
    if every_20th:
        return np.arange(1, count + 1) % min(_HELD_OUT_EVERY, count) == 0
    chosen = random_places(max(1, count // _HELD_OUT_EVERY), count)
    return np.isin(np.arange(count), chosen)


def _part(split: Split, chosen: np.ndarray) -> Split:
    kept = None if split.images is None else split.images[chosen]
    return dataclasses.replace(split, images=kept, rows=split.rows[chosen])


def _usable(pictures: Pictures, data: config.Data, place: str, fits: bool) -> Split:
    """Decodes all pictures of a split to find the usable ones; keeps the images only if they `fit`."""
    kept = np.empty([pictures.count if fits else 0, *data.image_shape], np.uint8)
    rows: list[int] = []
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, pictures.count, _CHECKED_AT_ONCE):
            some = range(first, min(first + _CHECKED_AT_ONCE, pictures.count))
            read = functools.partial(_image_or_none, pictures, data)
            for row, image in zip(some, pool.map(read, some), strict=True):
                if image is not None:
                    if fits:
                        kept[len(rows)] = image
                    rows.append(row)
    if not rows:
        raise UserError(f'{place} holds no usable image: all {pictures.count} files are broken; see above')
    broken = pictures.count - len(rows)
    if broken:
        logging.warning('%d of %d images usable, %d broken', len(rows), pictures.count, broken)
    return Split(kept[: len(rows)] if fits else None, pictures, np.array(rows, np.int64), data)


def _image_or_none(pictures: Pictures, data: config.Data, row: int) -> np.ndarray | None:
    """Reads one image, uint8 [H, W, C]; warns and returns None if it is broken."""
    try:
        return _image(pictures, row, data)
    except Exception as error:  # Decoders raise errors of many kinds on damaged pictures.
        problem = printable(error or type(error).__name__)
        logging.warning('Skipped %s, a broken image: %s', printable(pictures.name(row)), problem)
        return None


def _image(pictures: Pictures, row: int, data: config.Data) -> np.ndarray:
    return images.crop_and_resize(pictures.read(row), data).numpy()
