"""Reads prepared datasets of tensorflow-datasets: in order, or in an endless random order."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.data import images, tfds_features, tfds_pictures
from drl_tf.data.opened import warn_of_unlabelled
from drl_tf.data.tfds_datasets import unreadable
from drl_tf.data.tuning import THREADS, untuned

RECORDS_SHUFFLED = 4096
_MOST_STRANDS = 16
_BATCH = 256


def count(builder: tfds.core.DatasetBuilder, split: str, data: config.Data) -> int:
    """Returns the number of pictures of a split, without the broken ones, which cannot be decoded.

    Args:
      builder: builder of a prepared dataset.
      split: name of the split in tensorflow-datasets, such as 'train[:90]'.
      data: options of the dataset.

    Raises:
      UserError: a file is damaged, or no picture can be decoded.
    """
    info = builder.info.splits[split]
    found = tfds_pictures.broken(builder, split, data)
    if not found:
        return info.num_examples
    usable = sum(part.take for part in tfds_pictures.usable_parts(info.file_instructions, found))
    if not usable:
        raise UserError(f'{builder.data_path} holds no usable image in {split}: all of them are broken')
    return usable


def load(
    builder: tfds.core.DatasetBuilder, split: str, data: config.Data, limit: int | None = None
) -> np.ndarray:
    """Loads the images of a split into memory, cropped and resized, in a fixed order, without broken ones.

    Args:
      builder: builder of a prepared dataset.
      split: name of the split in tensorflow-datasets.
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
      limit: loads the first `limit` images; None: all.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: a file is damaged.
    """
    total = count(builder, split, data)
    total = total if limit is None else min(total, limit)
    result = np.empty([total, *data.image_shape], np.uint8)
    for index, batch in enumerate(batches(builder, split, data, limit)):
        result[index * _BATCH : index * _BATCH + len(batch)] = batch
    return result


def batches(
    builder: tfds.core.DatasetBuilder, split: str, data: config.Data, limit: int | None = None
) -> Iterator[np.ndarray]:
    """Yields the images of a split in batches of at most 256, uint8 [n, H, W, C], without broken ones.

    Args:
      builder: builder of a prepared dataset.
      split: name of the split in tensorflow-datasets.
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
      limit: yields the first `limit` images; None: all.

    Raises:
      UserError: a file is damaged.
    """
    decoders = {tfds_features.image_feature(builder): tfds.decode.SkipDecoding()}
    found = tfds_pictures.broken(builder, split, data)
    pictures = tfds_pictures.usable_examples(builder, split, decoders, found)
    resized = pictures.take(-1 if limit is None else limit).map(
        lambda example: _image(example, builder, data), THREADS
    )
    try:
        yield from untuned(resized.batch(_BATCH).prefetch(1)).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error


def load_labels(builder: tfds.core.DatasetBuilder, split: str, data: config.Data) -> np.ndarray:
    """Returns the class of each image of a split, from 0, or -1 for no class, int32 [N].

    Images that cannot be decoded are left out. The classes have the order of the images that `load` returns.

    Args:
      builder: builder of a prepared dataset with classes.
      split: name of the split in tensorflow-datasets.
      data: options of the dataset.
    """
    label = _label_feature(builder)
    found = tfds_pictures.broken(builder, split, data)
    examples = tfds_pictures.usable_examples(builder, split, {label: None}, found)
    labels = np.fromiter((example[label] for example in untuned(examples).as_numpy_iterator()), np.int32)
    warn_of_unlabelled(labels, builder.info.full_name, split)
    return labels


def stream(
    builder: tfds.core.DatasetBuilder,
    split: str,
    data: config.Data,
    seed: int,
    batch_size: int,
    first_step: int,
    rows: slice,
) -> tf.data.Dataset:
    """Reads a split from disk without end, shuffled, image by image.

    The order depends on (seed, `batch_size`) only. The images are divided into S equal parts, which are read
    side by side; each part fills its own rows of every batch. S is the largest power of two that divides
    `batch_size`, at most 16 and at most the number of images.

    In each epoch, a part yields each of its images once: its files come in a new order, and blocks of
    4,096 / S images are shuffled.

    Args:
      builder: builder of the dataset.
      split: name of the split.
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
      seed: int below 2^31.
      batch_size: images per batch.
      first_step: number of batches to skip at the beginning, such as those that training used before it
        was interrupted. Their images are not decoded.
      rows: slice of each batch to return; only these images are decoded.

    Returns:
      Dataset of pairs (image, class): uint8 [H, W, C], and int32 [], from 0, or -1 for no class. The class is
      always 0 if `data.num_classes` is 0.

    Raises:
      UserError: the files are not TFRecords.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f'{builder.data_path} must hold TFRecord files: prepare it with `tfds build '
            '--file_format=tfrecord`'
        )
    files = builder.info.splits[split].file_instructions
    found = tfds_pictures.broken(builder, split, data)
    usable = tfds_pictures.usable_parts(files, found)
    left_out = tfds_pictures.broken_rows(files, found)
    strands = math.gcd(batch_size, min(_MOST_STRANDS, 1 << count(builder, split, data).bit_length() - 1))
    share = batch_size // strands
    wanted = range(batch_size)[rows]
    read = range(wanted[0] // share, wanted[-1] // share + 1)
    skipped = wanted[0] - read[0] * share
    num_read = len(read) * share

    def of_strand(strand: tf.Tensor) -> tf.data.Dataset:
        parts = _parts_of_files(usable, strand, strands)
        strand_seed = noise.fold(noise.root(seed, noise.DATA_ORDER), strand)
        block = RECORDS_SHUFFLED // strands
        return _shuffled_records(parts, left_out, strand_seed, first_step * share, block)

    records = tf.data.Dataset.range(read.start, read.stop).interleave(of_strand, len(read), share)
    if len(wanted) < num_read:
        records = records.batch(num_read).map(lambda batch: batch[skipped : skipped + len(wanted)]).unbatch()
    return records.map(_decoder(builder, data), num_parallel_calls=THREADS)


def _decoder(builder: tfds.core.DatasetBuilder, data: config.Data) -> Callable[[tf.Tensor], Any]:
    """Returns a function: serialised example -> (image uint8 [H, W, C], class int32 [])."""
    image = tfds_features.image_feature(builder)
    label = _label_feature(builder) if data.num_classes else None
    decoding = tfds.decode.PartialDecoding(dict.fromkeys(filter(None, (image, label)), True))
    features = decoding.extract_features(builder.info.features)

    def decode(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = features.deserialize_example(record, decoders={image: tfds.decode.SkipDecoding()})
        return _image(example, builder, data), tf.cast(example[label], tf.int32) if label else 0

    return decode


def _label_feature(builder: tfds.core.DatasetBuilder) -> str:
    """Returns the name of the feature that holds the classes; raises UserError if there is none."""
    label = tfds_features.label_feature(builder)
    if not label:
        raise UserError(f'{builder.info.full_name} has no classes: drop --num_classes')
    return label


def _image(example: dict[str, tf.Tensor], builder: tfds.core.DatasetBuilder, data: config.Data) -> tf.Tensor:
    """Decodes, crops and resizes the picture of an example, uint8 [H, W, C]."""
    picture = example[tfds_features.image_feature(builder)]
    return images.crop_and_resize(tfds_pictures.decode(picture, builder), data)


def _shuffled_records(
    parts: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    left_out: Sequence[tuple[str, int]],
    strand_seed: tf.Tensor,
    first: int,
    block_size: int,
) -> tf.data.Dataset:
    """Returns a dataset of the serialised examples, string [], of a strand from example `first` on.

    Args:
      parts: result of `_parts_of_files`.
      left_out: broken records, see `tfds_pictures.broken_rows`.
      strand_seed: int32 [2].
      first: number of examples that were used before.
      block_size: number of records that are shuffled together.
    """
    names, skips, lengths = parts
    epoch_length = tf.reduce_sum(lengths)

    def read_file(epoch: tf.Tensor, file: tf.Tensor) -> tf.data.Dataset:
        records = tfds_pictures.usable_records(names[file], left_out)
        blocks = records.skip(skips[file]).take(lengths[file]).batch(block_size).enumerate()
        return blocks.map(lambda block, part: _shuffle(part, strand_seed, epoch, file, block)).unbatch()

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        start = tf.maximum(first - epoch * epoch_length, 0)
        order = _shuffle(tf.range(tf.size(names)), strand_seed, epoch)
        is_left = tf.cumsum(tf.gather(lengths, order)) > start
        passed = tf.reduce_sum(tf.gather(lengths, order[~is_left]))
        remaining = tf.data.Dataset.from_tensor_slices(order[is_left])
        return remaining.flat_map(lambda file: read_file(epoch, file)).skip(start - passed)

    return tf.data.Dataset.counter(first // epoch_length).flat_map(read_epoch)


def _parts_of_files(
    files: Sequence[tfds_pictures.FilePart], strand: tf.Tensor, strands: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the parts of `files` that make up a strand.

    Returns:
      Names of files, string [n], and for each file the number of records to skip and to take, int64 [n].
    """
    names = tf.constant([file.filename for file in files])
    skips = tf.constant([file.skip for file in files], tf.int64)
    lengths = tf.constant([file.take for file in files], tf.int64)
    ends = tf.cumsum(lengths)
    starts = ends - lengths
    first = tf.maximum(starts, ends[-1] * strand // strands)
    last = tf.minimum(ends, ends[-1] * (strand + 1) // strands)
    some = first < last
    return names[some], (skips + first - starts)[some], (last - first)[some]


def _shuffle(values: tf.Tensor, seed: tf.Tensor, *numbers: Any) -> tf.Tensor:
    return tf.random.experimental.stateless_shuffle(values, noise.fold(seed, *numbers))
