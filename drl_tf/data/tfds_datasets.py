"""Datasets of tensorflow-datasets: found on disk or prepared there, and read."""

import contextlib
import math
import os
import shutil
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import REMOTE, held
from drl_tf.config import config
from drl_tf.core import noise
from drl_tf.data import downloads, emoji, images, lmdb_files, lsun, table, tar_archives

OWN_BUILDERS = {
    'emoji': emoji.Emoji,
    'lsun': lsun.Lsun,
}  # Beside the stock ones: called with config and data_dir.
_RECORDS_SHUFFLED = 4096
_MOST_STRANDS = 16
_BATCH = 256
_REMEDY = 'remove it and prepare it again'
_OF_FILE_SYSTEMS = (
    tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError, tf.errors.UnavailableError,
)  # fmt: skip


def open_builder(data: config.Data) -> tfds.core.DatasetBuilder:
    """The builder of a dataset that lies complete on disk, where need be after download and preparation.

    Args:
      data: resolved, see `table.resolve`.

    Raises:
      UserError: the dataset is damaged, or is not there and cannot be downloaded (known within seconds) or
        prepared.
    """
    spec, name = table.find_spec(data.dataset), table.builder_name(data)
    try:
        builder = _builder(name, data.data_dir)
    except Exception as error:  # Whatever is wrong with the metadata: the parsers raise their own kinds.
        raise _unreadable(f'{name} in --data_dir={data.data_dir}', error) from error
    try:
        is_there = builder.data_path.exists()
    except tf.errors.OpError as error:
        raise _unreadable(os.fspath(builder.data_path), error) from error
    if not is_there:
        _prepare(builder, name, data)
    for split in (spec.train_split, spec.test_split):
        _check_files(builder, split)
    return builder


def _unreadable(place, error):
    """The `UserError` for a dataset that cannot be read: the file system in the way, or damage."""
    if REMOTE in place and any(isinstance(each, _OF_FILE_SYSTEMS) for each in _chain(error)):
        return UserError(
            f'{place} cannot be reached ({one_line(error)}): check the network, your credentials and the name'
        )
    return UserError(f'{place} is damaged ({one_line(error)}): {_REMEDY}')


def _chain(error):
    """An error and those that it was raised for."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


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
        raise _unreadable(os.fspath(builder.data_path), error) from error


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
    strand_seed = noise.fold((seed, noise.DATA_ORDER), strand)

    def read_file(epoch, file):
        records = tf.data.TFRecordDataset(names[file]).skip(skips[file]).take(lengths[file])
        blocks = records.batch(_RECORDS_SHUFFLED // strands).enumerate()
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


def _builder(name, data_dir):
    """The builder of a name such as 'lsun/church_outdoor'."""
    family, _, configuration = name.partition('/')
    if family in OWN_BUILDERS:
        return OWN_BUILDERS[family](config=configuration or None, data_dir=data_dir or None)
    return tfds.builder(name, data_dir=data_dir or None)


def _prepare(builder, name, data):
    """Has the builder write its dataset, from archives that are there or downloaded; says what it is, and its
    licence."""
    spec = table.find_spec(data.dataset)
    root = os.fspath(builder.data_dir_root)
    kept = os.path.join(root, 'downloads')
    missing = f'{name} is not in --data_dir={root}'
    if REMOTE in root:
        raise UserError(
            f'{missing}: prepare it in a local --data_dir, copy {name} from there, and give this one again'
        )
    if data.manual_dir:
        missing += f', nor all that it is made of in --manual_dir={data.manual_dir}'
    if data.manual_dir:
        _check_manual_dir(builder, data.manual_dir)
    if spec.by_hand:
        _check_by_hand(spec.by_hand, data, missing)
    print(f'preparing {name} in {builder.data_path}: {spec.note}; licence: {spec.licence}', flush=True)
    try:
        with held(kept, '--data_dir'), _emptied(os.path.join(kept, 'at_work')) as work:
            for leftover in builder.data_path.parent.glob('incomplete.*'):
                leftover.rmtree()
            archives = downloads.gather(
                downloads.wanted(builder), data.manual_dir, kept, isinstance(builder, lsun.Lsun)
            )
            links, extracted = os.path.join(work, 'archives'), os.path.join(work, 'extracted')
            os.mkdir(links)
            for file, path in archives.items():
                os.symlink(path, os.path.join(links, file))
            manual = links if archives else data.manual_dir or None
            options = tfds.download.DownloadConfig(
                manual_dir=manual, extract_dir=extracted, try_download_gcs=False
            )
            builder._log_download_bytes = builder._log_download_done = lambda: (
                None
            )  # They speak of downloads where there are none.
            builder.download_and_prepare(download_config=options)
    except UserError as error:
        raise UserError(f'{missing}, and {error}') from error
    except Exception as error:  # Archives, builders and disks fail in errors of many kinds.
        raise UserError(
            f'{missing} and could not be prepared ({one_line(error)}): put that right and run again'
        ) from error


@contextlib.contextmanager
def _emptied(directory):
    """A new directory in the place of what an ended run left; it goes at the end."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_manual_dir(builder, manual_dir):
    """Raises UserError where archives cannot be in a directory: there is none, or it is one of them,
    unpacked."""
    if not os.path.isdir(manual_dir):
        raise UserError(
            f'--manual_dir={manual_dir} is not a directory: give the one of the archives you fetched'
        )
    if isinstance(builder, lsun.Lsun) and os.path.isfile(lmdb_files.file_of(manual_dir)):
        names = ' and '.join(archive.unpacked_name for archive in downloads.wanted(builder))
        raise UserError(
            f'--manual_dir={manual_dir} is an LMDB itself: give the directory above it, which must hold '
            f'{names}'
        )


def _check_by_hand(archive, data, missing):
    """Raises UserError where the archive that only the user can make is not there, or not sound."""
    file = archive.file.format(size=data.image_size)
    path = os.path.join(data.manual_dir, file)
    if not os.path.isfile(path):
        raise UserError(
            f'{missing}, and its archive is made by hand: make {file} ({archive.source}) in a directory '
            'DIR, --manual_dir=DIR'
        )
    tar_archives.check(path, data.image_size, archive.pictures)


def _check_files(builder, split):
    """Raises UserError when a split or a file of it is not there, or the files are shorter than their
    examples."""
    try:
        info = builder.info.splits[split.split('[')[0]]
        size = sum(path.stat().length for path in info.filepaths)
    except tf.errors.OpError as error:
        raise _unreadable(os.fspath(builder.data_path), error) from error
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f'{builder.data_path} is incomplete ({one_line(error)}): {_REMEDY}') from error
    if size < info.num_bytes:
        raise UserError(f'{builder.data_path} is damaged (files of {split} are cut off): {_REMEDY}')
