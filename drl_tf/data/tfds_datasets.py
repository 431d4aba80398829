"""Opens datasets of tensorflow-datasets, and downloads and prepares them if necessary."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import REMOTE, held
from drl_tf.config import config
from drl_tf.data import (
    asking,
    dataset_table,
    downloads,
    emoji,
    lmdb_files,
    lsun,
    tar_archives,
    tfds_features,
)
from drl_tf.data.dataset_spec import ByHand
from drl_tf.data.opened import check_classes

# Builders of this package, besides the stock builders; each takes config and data_dir.
OWN_BUILDERS: dict[str, Any] = {'emoji': emoji.Emoji, 'lsun': lsun.Lsun}
_REMEDY = 'remove it and prepare it again'
_TEST_SPLITS = ('test', 'validation')
_HELD_OUT = 20  # One picture in 20 is held out if a dataset has no test split of its own.
_OF_FILE_SYSTEMS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.UnavailableError,
)


def open_builder(data: config.Data) -> tfds.core.DatasetBuilder:
    """Returns the tensorflow-datasets builder of a dataset; prepares the dataset if it is not on disk.

    Args:
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.

    Raises:
      UserError: the dataset is damaged; or it is not on disk, and cannot be downloaded or prepared; or its
        number of classes differs from the option `num_classes`. Without a connection to the server, this
        error comes within seconds.
    """
    place = f'--dataset={data.dataset}'
    if dataset_table.find_spec(data.dataset).source == 'tfrecords':
        place += f':{data.data_dir}'
        builder = tfds_features.prepared_builder(data.data_dir)
    else:
        builder = _prepared(data)
    tfds_features.image_feature(builder, place)
    if data.num_classes and dataset_table.is_own(data.dataset):
        check_classes(tfds_features.count_classes(builder), data.num_classes, place)
    for split in ('train', 'test'):
        _check_files(builder, split_name(builder, data, split))
    return builder


def _prepared(data: config.Data) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset given by name; downloads and prepares the dataset if need be."""
    name = dataset_table.builder_name(data)
    if dataset_table.is_own(data.dataset) and name.partition('/')[0] not in OWN_BUILDERS:
        tfds_features.stock_builder(name, data.data_dir)  # Raises a clearer error if the name is wrong.
    try:
        builder = make_builder(name, data.data_dir)
    except Exception as error:  # The parsers of the metadata raise errors of many kinds.
        raise unreadable(f'{name} in --data_dir={data.data_dir}', error) from error
    try:
        is_there = builder.data_path.exists()
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error
    if not is_there:
        _prepare(builder, name, data)
        return make_builder(name, data.data_dir)  # If another process has prepared it, `builder` is outdated.
    return builder


def split_name(builder: tfds.core.DatasetBuilder, data: config.Data, split: str) -> str:
    """Returns the tensorflow-datasets name of the training or the test split, such as 'train[:950]'.

    The descriptions of built-in datasets name both splits. Other datasets are trained on the split `train`,
    or else the first one, and tested on `test` or `validation`. If they have neither, the last twentieth of
    the training split is held out.

    Args:
      builder: builder of a prepared dataset.
      data: options of the dataset.
      split: 'train' or 'test'.
    """
    spec = dataset_table.find_spec(data.dataset)
    if spec.train_split:
        return {'train': spec.train_split, 'test': spec.test_split}[split]
    names = list(builder.info.splits)
    train = 'train' if 'train' in names else names[0]
    test = next((name for name in _TEST_SPLITS if name in names and name != train), None)
    if test:
        return {'train': train, 'test': test}[split]
    count = builder.info.splits[train].num_examples
    if count < 2:
        return train
    first = count - max(1, count // _HELD_OUT)
    return {'train': f'{train}[:{first}]', 'test': f'{train}[{first}:]'}[split]


def unreadable(place: str, error: BaseException) -> UserError:
    """Makes the error for a dataset that cannot be read; the caller raises it.

    Args:
      place: path or URL of the dataset, for the message.
      error: the exception of the failed reading.
    """
    if REMOTE in place and any(isinstance(each, _OF_FILE_SYSTEMS) for each in _chain(error)):
        return UserError(
            f'{place} cannot be reached ({one_line(error)}): check the network, your credentials and the name'
        )
    return UserError(f'{place} is damaged ({one_line(error)}): {_REMEDY}')


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and its causes."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def make_builder(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset, from this package or from tensorflow-datasets.

    It neither downloads nor prepares the dataset; `open_builder` does. Errors of tensorflow-datasets, such as
    for an unknown name, pass through.

    Args:
      name: 'builder' or 'builder/configuration', such as 'lsun/church_outdoor'.
      data_dir: directory of datasets; '' for the default of tensorflow-datasets.
    """
    family, _, configuration = name.partition('/')
    if family in OWN_BUILDERS:
        return OWN_BUILDERS[family](config=configuration or None, data_dir=data_dir or None)
    return tfds.builder(name, data_dir=data_dir or None)


def _prepare(builder: tfds.core.DatasetBuilder, name: str, data: config.Data) -> None:
    """Prepares a dataset on disk; prints the note and the licence of the dataset.

    Raises:
      UserError: an archive is missing or damaged, or the preparation failed; the message says what to do.
    """
    spec = dataset_table.find_spec(data.dataset)
    root = os.fspath(builder.data_dir_root)
    kept = os.path.join(root, 'downloads')
    missing = f'{name} is not in --data_dir={root}'
    if REMOTE in root:
        raise UserError(
            f'{missing}: prepare it in a local --data_dir, copy {name} from there, and give this one again'
        )
    archives = asking.wanted(make_builder(name, data.data_dir))
    if data.manual_dir:
        missing += f', nor are all its archives in --manual_dir={data.manual_dir}'
        _check_manual_dir(builder, archives, data.manual_dir)
    if spec.by_hand:
        _check_by_hand(spec.by_hand, data, missing)
    print(f'preparing {name} in {builder.data_path}: {spec.note}; licence: {spec.licence}', flush=True)
    try:
        with held(kept, '--data_dir'), _emptied(os.path.join(kept, 'at_work')) as work:
            _write(builder, archives, data.manual_dir, os.path.join(kept, builder.name), work)
    except UserError as error:
        raise UserError(f'{missing}, and {error}') from error
    except Exception as error:  # Archives, builders and disks raise errors of many kinds.
        raise UserError(
            f'{missing} and could not be prepared ({one_line(error)}): fix that and run again'
        ) from error


def _write(
    builder: tfds.core.DatasetBuilder,
    archives: list[downloads.Archive],
    manual_dir: str,
    kept: str,
    work: str,
) -> None:
    """Writes a dataset from its archives, which are in `manual_dir` or are downloaded to `kept`.

    The builder gets links to the archives and to what else is in `manual_dir`, in a directory in `work`.
    tensorflow-datasets looks there, by name, for archives that are not among `archives`.
    """
    for leftover in builder.data_path.parent.glob('incomplete.*'):
        leftover.rmtree()
    is_lsun = isinstance(builder, lsun.Lsun)
    linked = downloads.gather(archives, manual_dir, kept, is_lsun)
    if manual_dir and not is_lsun:  # The builder of LSUN takes every file for an archive.
        linked = {
            file: os.path.abspath(os.path.join(manual_dir, file)) for file in os.listdir(manual_dir)
        } | linked
    links = os.path.join(work, 'archives')
    os.mkdir(links)
    for file, path in linked.items():
        os.symlink(path, os.path.join(links, file))
    options = tfds.download.DownloadConfig(
        manual_dir=links if archives else manual_dir or None,
        extract_dir=os.path.join(work, 'extracted'),
        try_download_gcs=False,
    )
    # These methods would print messages about downloads, but the builder downloads nothing.
    builder._log_download_bytes = lambda: None
    builder._log_download_done = lambda: None
    builder.download_and_prepare(download_config=options)


@contextlib.contextmanager
def _emptied(directory: str) -> Iterator[str]:
    """Context manager: empties a directory, which a killed run may have filled; removes it at the end."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _check_manual_dir(
    builder: tfds.core.DatasetBuilder, archives: list[downloads.Archive], manual_dir: str
) -> None:
    """Raises UserError if --manual_dir is missing, or is itself an unpacked archive."""
    if not os.path.isdir(manual_dir):
        raise UserError(
            f'--manual_dir={manual_dir} is not a directory: give the one with the archives you fetched'
        )
    if isinstance(builder, lsun.Lsun) and os.path.isfile(lmdb_files.file_of(manual_dir)):
        names = ' and '.join(archive.unpacked_name for archive in archives)
        raise UserError(
            f'--manual_dir={manual_dir} is an LMDB itself: give its parent directory, which must hold {names}'
        )


def _check_by_hand(archive: ByHand, data: config.Data, missing: str) -> None:
    """Raises UserError if the archive that only the user can make is missing or damaged."""
    file = archive.file.format(size=data.image_size)
    path = os.path.join(data.manual_dir, file)
    if not os.path.isfile(path):
        raise UserError(
            f'{missing}, and its archive must be made by hand: make {file} ({archive.source}) in a directory '
            'DIR, and give --manual_dir=DIR'
        )
    tar_archives.check(path, data.image_size, archive.pictures)


def _check_files(builder: tfds.core.DatasetBuilder, split: str) -> None:
    """Raises UserError if a split or one of its files is missing, or the files are cut off."""
    try:
        info = builder.info.splits[split.split('[')[0]]
        size = sum(path.stat().length for path in info.filepaths)
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f'{builder.data_path} is incomplete ({one_line(error)}): {_REMEDY}') from error
    if size < info.num_bytes:
        raise UserError(f'{builder.data_path} is damaged (files of {split} are cut off): {_REMEDY}')
