"""Finds and opens picture files, without TensorFlow."""

import functools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import IO, NoReturn

import numpy as np
from absl import logging
from PIL import Image, ImageOps, UnidentifiedImageError

from drl_tf.base.errors import UserError, printable

MAX_PIXELS = 2**26  # A picture whose header says that it has more pixels is not decoded.
FORMATS = (
    'PNG',
    'JPEG',
    'GIF',
    'BMP',
    'WEBP',
)  # Pillow runs other programs to read some formats, but not to read these.
_EXTENSIONS = ('.png', '.jpg', '.jpeg', '.gif', '.bmp', '.webp')
_HEAD = re.compile(rb'\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0{4}|RIFF.{4}WEBP', re.DOTALL)
_HEAD_BYTES = 12
_OF_MACOS = '._'  # macOS stores the attributes of a file X in a companion file ._X.


def find_pictures(directory: str) -> list[str]:
    """Finds the picture files in a directory and below it.

    A picture has a known extension, such as `.png`, or begins like a file of a known picture format. A
    warning says how many other files there are. The files `._x.jpg` of macOS are no pictures.

    Links to directories are followed, and each directory is read once. Another warning says how many
    directories below are left out: those whose names begin with a dot, and links to what is read anyway.

    Returns:
      Paths, sorted.

    Raises:
      UserError: a directory cannot be read.
    """
    files = sorted(_files(directory))
    found = [path for path in files if _looks_like_picture(path)]
    if len(found) < len(files):
        others = set(files).difference(found)
        _warn_of_others(directory, len(others), min(others))
    return found


def _files(directory: str) -> Iterator[str]:
    """Yields the paths of the files in a directory and below it; warns of directories that it leaves out."""
    done = {str(path) for path in pathlib.Path(os.path.realpath(directory)).parents}
    left_out: list[str] = []
    tops = [os.fspath(directory)]
    for top in tops:  # Links go to the end, so that a directory has its own path if that lies below too.
        for parent, folders, names in os.walk(top, onerror=_refuse_unreadable):
            place = os.path.realpath(parent)
            if place in done:
                left_out.append(parent)
                folders.clear()
                continue
            done.add(place)
            left_out += [os.path.join(parent, name) for name in folders if name.startswith('.')]
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            tops += [path for name in folders if os.path.islink(path := os.path.join(parent, name))]
            yield from (os.path.join(parent, name) for name in names)
    if left_out:
        _warn_of_folders(directory, len(left_out), min(left_out))


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f'{printable(error.filename)} cannot be read ({error.strerror}): allow reading it, or move it away'
    ) from error


def _looks_like_picture(path: str) -> bool:
    name = os.path.basename(path).lower()
    if name.startswith(_OF_MACOS):
        return False
    if name.endswith(_EXTENSIONS):
        return True
    if not os.path.isfile(path):
        return False
    try:
        with open(path, 'rb') as file:
            return bool(_HEAD.match(file.read(_HEAD_BYTES)))
    except OSError:  # It may be a picture; opening it will report what is wrong.
        return True


@functools.cache
def _warn_of_others(directory: str, count: int, example: str) -> None:
    formats = f'{", ".join(FORMATS[:-1])} or {FORMATS[-1]}'
    logging.warning(
        '%s: left out %d files that are not %s, such as %s',
        printable(directory),
        count,
        formats,
        printable(os.path.relpath(example, directory)),
    )


@functools.cache
def _warn_of_folders(directory: str, count: int, example: str) -> None:
    logging.warning(
        '%s: left out %d folders that are hidden or are read under another path, such as %s',
        printable(directory), count, printable(os.path.relpath(example, directory)),
    )  # fmt: skip


def open_picture(file: IO[bytes]) -> Image.Image:
    """Opens a picture without decoding it, and checks its header.

    Args:
      file: a binary file, at its beginning.

    Raises:
      ValueError: the picture has more than 2^26 pixels (`MAX_PIXELS`), or is no PNG, JPEG, GIF, BMP or WebP.
      OSError and other errors of Pillow: the picture is damaged.
    """
    try:
        picture = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f'it does not begin as a file of kind {", ".join(FORMATS)} does') from error
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(
            f'{picture.width} x {picture.height} pixels are more than {MAX_PIXELS:,}: make it smaller'
        )
    picture.verify()
    file.seek(0)
    return Image.open(file, formats=FORMATS)


def read(file: IO[bytes]) -> np.ndarray:
    """Reads a picture as RGB, rotated as its EXIF data say; transparent parts become white.

    Args:
      file: a binary file, at its beginning.

    Returns:
      uint8 [h, w, 3].

    Raises:
      ValueError, OSError and other errors of Pillow: the picture is damaged, too large, or of an unknown
        format.
    """
    return np.asarray(to_rgb(ImageOps.exif_transpose(open_picture(file))))


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB; transparent parts become white."""
    if image.mode.startswith('I'):
        values = np.asarray(image)
        grey = np.rint(values / 257).astype(np.uint8)
        image = Image.fromarray(np.where(values == image.info.get('transparency', -1), np.uint8(255), grey))
    if image.has_transparency_data:
        opaque = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(opaque, image.convert('RGBA'))
    return image.convert('RGB')
