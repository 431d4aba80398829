"""Checks and unpacks tar archives, such as those of pictures that the user makes for --manual_dir."""

import io
import lzma
import pathlib
import tarfile
import zlib

import tensorflow_datasets as tfds
import tqdm
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.data import images, picture_files

_END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)


def check(path: str, size: int, published: int) -> None:
    """Checks that a tar file holds sound PNG pictures of one size, as tensorflow-datasets needs them.

    Args:
      path: the tar file.
      size: height and width of each picture in pixels.
      published: the published number of pictures; another number gives a warning.

    Raises:
      UserError: the archive is damaged, cut off or empty, or a member is not a sound PNG of `size` x `size`
        pixels, or occurs twice.
    """
    _check_end(path)
    names: set[str] = set()
    members = tfds.download.iter_archive(path, tfds.download.ExtractMethod.TAR)
    for name, file in tqdm.tqdm(members, desc=f'checking {path}', unit=' pictures'):
        if name in names:
            raise UserError(f'{name} is twice in {path}: make the archive again')
        try:
            _check_picture(file.read(), size)
        except Exception as error:  # Decoders raise errors of many kinds on damaged files.
            raise UserError(
                f'{name} in {path} is no sound PNG of {size} x {size} pixels ({one_line(error)}): make the '
                'archive again'
            ) from error
        names.add(name)
    if not names:
        raise UserError(f'{path} holds no picture: make the archive again')
    if len(names) != published:
        logging.warning(
            '%s holds %d pictures, %d are published: the dataset will have the former only',
            path,
            len(names),
            published,
        )


def _check_end(path: str) -> None:
    """Raises UserError unless a tar file is whole, up to the two blocks of zeros that end it."""
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            archive.fileobj.seek(archive.offset)
            end = archive.fileobj.read(len(_END_OF_ARCHIVE))
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f'{path} is damaged or cut off ({one_line(error)}): make the archive again'
        ) from error
    if end != _END_OF_ARCHIVE:
        raise UserError(
            f'{path} is cut off: no end of archive comes after its {len(members):,} members; make the '
            'archive again'
        )


def _check_picture(content: bytes, size: int) -> None:
    """Raises ValueError, or an error of the decoders, unless a file is a sound PNG of `size` pixels."""
    picture = picture_files.open_picture(io.BytesIO(content))
    if picture.format != 'PNG':
        raise ValueError(f'a file of kind {picture.format}')
    if picture.size != (size, size):
        raise ValueError(f'{picture.width} x {picture.height} pixels')
    images.decode(content, channels=3)


def unpack(archive: str, directory: str) -> None:
    """Unpacks a tar file into a new directory.

    Args:
      archive: path of the tar file.
      directory: the directory to create.

    Raises:
      ValueError: a member is neither a file nor a directory, or would be written outside `directory`.
    """
    with tarfile.open(archive) as packed:
        for member in packed:
            path = pathlib.PurePosixPath(member.name)
            if not (member.isfile() or member.isdir()) or path.is_absolute() or '..' in path.parts:
                raise ValueError(f'{member.name} in the archive is no file inside it')
        packed.extractall(directory)
