"""Datasets of tensorflow-datasets: found on disk or prepared there."""

import contextlib
import os
import shutil

import tensorflow as tf
import tensorflow_datasets as tfds

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import REMOTE, held
from drl_tf.config import config
from drl_tf.data import dataset_table, downloads, emoji, lmdb_files, lsun, tar_archives

OWN_BUILDERS = {
    'emoji': emoji.Emoji,
    'lsun': lsun.Lsun,
}  # Beside the stock ones: called with config and data_dir.
_REMEDY = 'remove it and prepare it again'
_OF_FILE_SYSTEMS = (
    tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError, tf.errors.UnavailableError,
)  # fmt: skip


def open_builder(data: config.Data) -> tfds.core.DatasetBuilder:
    """The builder of a dataset that lies complete on disk, where need be after download and preparation.

    Args:
      data: resolved, see `dataset_table.resolve`.

    Raises:
      UserError: the dataset is damaged, or is not there and cannot be downloaded (known within seconds) or
        prepared.
    """
    spec, name = dataset_table.find_spec(data.dataset), dataset_table.builder_name(data)
    try:
        builder = make_builder(name, data.data_dir)
    except Exception as error:  # Whatever is wrong with the metadata: the parsers raise their own kinds.
        raise unreadable(f'{name} in --data_dir={data.data_dir}', error) from error
    try:
        is_there = builder.data_path.exists()
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error
    if not is_there:
        _prepare(builder, name, data)
    for split in (spec.train_split, spec.test_split):
        _check_files(builder, split)
    return builder


def unreadable(place, error):
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


def make_builder(name, data_dir):
    """The builder of a name such as 'lsun/church_outdoor'."""
    family, _, configuration = name.partition('/')
    if family in OWN_BUILDERS:
        return OWN_BUILDERS[family](config=configuration or None, data_dir=data_dir or None)
    return tfds.builder(name, data_dir=data_dir or None)


def _prepare(builder, name, data):
    """Has the builder write its dataset; prints what it is, and its licence.

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
    if data.manual_dir:
        missing += f', nor all that it is made of in --manual_dir={data.manual_dir}'
        _check_manual_dir(builder, data.manual_dir)
    if spec.by_hand:
        _check_by_hand(spec.by_hand, data, missing)
    print(f'preparing {name} in {builder.data_path}: {spec.note}; licence: {spec.licence}', flush=True)
    try:
        with held(kept, '--data_dir'), _emptied(os.path.join(kept, 'at_work')) as work:
            _write(builder, data.manual_dir, kept, work)
    except UserError as error:
        raise UserError(f'{missing}, and {error}') from error
    except Exception as error:  # Archives, builders and disks fail in errors of many kinds.
        raise UserError(
            f'{missing} and could not be prepared ({one_line(error)}): put that right and run again'
        ) from error


def _write(builder, manual_dir, kept, work):
    """Writes a dataset from its archives: those in `manual_dir`, and downloads, which stay in `kept`.

    The builder finds links to all of them in one directory in `work`.
    """
    for leftover in builder.data_path.parent.glob('incomplete.*'):
        leftover.rmtree()
    archives = downloads.gather(downloads.wanted(builder), manual_dir, kept, isinstance(builder, lsun.Lsun))
    links = os.path.join(work, 'archives')
    os.mkdir(links)
    for file, path in archives.items():
        os.symlink(path, os.path.join(links, file))
    options = tfds.download.DownloadConfig(
        manual_dir=links if archives else manual_dir or None,
        extract_dir=os.path.join(work, 'extracted'),
        try_download_gcs=False,
    )
    # These would speak of downloads where there are none.
    builder._log_download_bytes = lambda: None
    builder._log_download_done = lambda: None
    builder.download_and_prepare(download_config=options)


@contextlib.contextmanager
def _emptied(directory):
    """Context manager: a new directory, in place of what an ended run left there; removed at the end."""
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
        raise unreadable(os.fspath(builder.data_path), error) from error
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f'{builder.data_path} is incomplete ({one_line(error)}): {_REMEDY}') from error
    if size < info.num_bytes:
        raise UserError(f'{builder.data_path} is damaged (files of {split} are cut off): {_REMEDY}')
