"""Reads a dataset of tensorflow-datasets that lies on disk: in order, or shuffled without end."""

import math
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.data import images
from drl_tf.data.tfds_datasets import unreadable

RECORDS_SHUFFLED = 4096
_MOST_STRANDS = 16
_BATCH = 256


def count(builder: tfds.core.DatasetBuilder, split: str) -> int:
    """Number of examples in a split."""
    return builder.info.splits[split].num_examples


def load(
    builder: tfds.core.DatasetBuilder, split: str, data: config.Data, limit: int | None = None
) -> np.ndarray:
    """Reads a split, or its first `limit` examples, into memory, cropped and resized.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: a file is damaged.
    """
    total = count(builder, split) if limit is None else min(count(builder, split), limit)
    result = np.empty([total, data.image_size, data.image_size, data.image_channels], np.uint8)
    for index, batch in enumerate(batches(builder, split, data, limit)):
        result[index * _BATCH : index * _BATCH + len(batch)] = batch
    return result


def batches(
    builder: tfds.core.DatasetBuilder, split: str, data: config.Data, limit: int | None = None
) -> Iterator[np.ndarray]:
    """Yields what `load` returns a part at a time, uint8 [n, H, W, C]."""
    decoders = tfds.decode.PartialDecoding({'image': True}, decoders={'image': tfds.decode.SkipDecoding()})
    reading = tfds.ReadConfig(try_autocache=False)
    pictures = builder.as_dataset(split=split, decoders=decoders, read_config=reading, shuffle_files=False)
    resized = pictures.take(-1 if limit is None else limit).map(
        lambda example: _image(example, builder, data), tf.data.AUTOTUNE
    )
    try:
        yield from resized.batch(_BATCH).prefetch(1).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error


def load_labels(builder: tfds.core.DatasetBuilder, split: str) -> np.ndarray:
    """The classes of a split in the order of `load`, int32 [N] from 0."""
    decoders = tfds.decode.PartialDecoding({'label': True})
    reading = tfds.ReadConfig(try_autocache=False)
    examples = builder.as_dataset(split=split, decoders=decoders, read_config=reading, shuffle_files=False)
    return np.fromiter((example['label'] for example in examples.as_numpy_iterator()), np.int32)


def stream(
    builder: tfds.core.DatasetBuilder,
    split: str,
    data: config.Data,
    seed: int,
    batch_size: int,
    first_step: int,
    rows: slice,
) -> tf.data.Dataset:
    """Reads batches of a split from disk without end, image by image, in an order that depends on (seed,
    `batch_size`) alone.

    S strands are read side by side, S the largest power of two that divides the batch size B and is at most
    16 and at most the number N of images. Strand k has the records from k N // S up to (k + 1) N // S of the
    split, file after file, and gives the rows from k B / S up to (k + 1) B / S of every batch. Each of its
    epochs holds all its records once: it takes its files, or parts of files, in a new order, and the records
    of a file in blocks that are shuffled before they are decoded:
    tensorflow-datasets has spread the examples over the files at random. Starting late skips whole files, and
    within one file of each strand records that are not decoded.

    Args:
      first_step: number of batches already used.
      rows: which consecutive images of each batch are wanted: only the strands that give them are read, and
        no others decoded.

    Returns:
      Dataset of uint8 [H, W, C] and classes, int32 [] from 0 (0 where the model has no classes).

    Raises:
      UserError: the files are not TFRecords.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f'{builder.data_path} must hold TFRecord files: prepare it with `tfds build '
            '--file_format=tfrecord`'
        )
    features, files = builder.info.features, builder.info.splits[split].file_instructions
    strands = math.gcd(batch_size, min(_MOST_STRANDS, 1 << count(builder, split).bit_length() - 1))
    share, wanted = batch_size // strands, range(batch_size)[rows]
    read = range(wanted[0] // share, wanted[-1] // share + 1)
    skipped, num_read = wanted[0] - read[0] * share, len(read) * share

    def decode(record):
        example = features.deserialize_example(record, decoders={'image': tfds.decode.SkipDecoding()})
        label = tf.cast(example['label'], tf.int32) if data.num_classes else 0
        return _image(example, builder, data), label

    records = tf.data.Dataset.range(read.start, read.stop).interleave(
        lambda strand: _shuffled_records(files, strand, strands, seed, first_step * share), len(read), share
    )
    if len(wanted) < num_read:
        records = records.batch(num_read).map(lambda batch: batch[skipped : skipped + len(wanted)]).unbatch()
    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)


def _image(example, builder, data):
    """The image of an example whose picture is still encoded, uint8 [H, W, C]."""
    shape = builder.info.features['image'].shape
    return images.crop_and_resize(tf.ensure_shape(images.decode(example['image'], shape[-1]), shape), data)


def _shuffled_records(files, strand, strands, seed, first):
    """Dataset of the serialised examples of a strand, int64 [], from its position `first` on; all strands
    together have `files`."""
    names, skips, lengths = _parts_of_files(files, strand, strands)
    epoch_length = tf.reduce_sum(lengths)
    strand_seed = noise.fold(noise.root(seed, noise.DATA_ORDER), strand)

    def read_file(epoch, file):
        records = tf.data.TFRecordDataset(names[file]).skip(skips[file]).take(lengths[file])
        blocks = records.batch(RECORDS_SHUFFLED // strands).enumerate()
        return blocks.map(lambda block, part: _shuffle(part, strand_seed, epoch, file, block)).unbatch()

    def read_epoch(epoch):
        start = tf.maximum(first - epoch * epoch_length, 0)
        order = _shuffle(tf.range(tf.size(names)), strand_seed, epoch)
        left = tf.cumsum(tf.gather(lengths, order)) > start
        passed = tf.reduce_sum(tf.gather(lengths, order[~left]))
        return (
            tf.data.Dataset.from_tensor_slices(order[left])
            .flat_map(lambda file: read_file(epoch, file))
            .skip(start - passed)
        )

    return tf.data.Dataset.counter(first // epoch_length).flat_map(read_epoch)


def _parts_of_files(files, strand, strands):
    """The parts of `files` that make a strand: their names, string [n], and how many records to skip and to
    take, int64 [n]."""
    names = tf.constant([file.filename for file in files])
    skips, lengths = (
        tf.constant([getattr(file, part) for file in files], tf.int64) for part in ('skip', 'take')
    )
    ends = tf.cumsum(lengths)
    starts = ends - lengths
    first, last = (
        tf.maximum(starts, ends[-1] * strand // strands),
        tf.minimum(ends, ends[-1] * (strand + 1) // strands),
    )
    some = first < last
    return names[some], (skips + first - starts)[some], (last - first)[some]


def _shuffle(values, seed, *numbers):
    return tf.random.experimental.stateless_shuffle(values, noise.fold(seed, *numbers))
