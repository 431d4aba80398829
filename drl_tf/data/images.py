"""Turns pictures of any size into square images: the crop and resize of every source."""

import functools
import os
import re
from typing import IO, Any, NoReturn

import tensorflow as tf
from absl import logging
from PIL import Image, UnidentifiedImageError

from drl_tf.base.errors import UserError, printable
from drl_tf.config import config
from drl_tf.data import dataset_table

MAX_BYTES_IN_MEMORY = 2 * 2**30
MAX_PIXELS = 2**26  # A picture whose header says that it has more pixels is not decoded.
FORMATS = (
    'PNG',
    'JPEG',
    'GIF',
    'BMP',
    'WEBP',
)  # Pillow runs other programs to read some formats, but not to read these.
EXTENSIONS = ('.png', '.jpg', '.jpeg', '.gif', '.bmp', '.webp')
_HEAD = re.compile(rb'\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM|RIFF.{4}WEBP', re.DOTALL)
_HEAD_BYTES = 12
_OF_MACOS = '._'  # Prefix of the files in which macOS keeps attributes of another file.
_PADDED_SIZE = 32
_ROWS_CUT = 20


def fit_in_memory(count: int, data: config.Data) -> bool:
    """Returns whether `count` images of the resolved `data` take at most `MAX_BYTES_IN_MEMORY` as uint8."""
    return count * data.image_size**2 * data.image_channels <= MAX_BYTES_IN_MEMORY


def decode(encoded: Any, channels: int) -> tf.Tensor:
    """Decodes the content of a JPEG, PNG, GIF, BMP or WebP file, uint8 [h, w, `channels`].

    If the file is an animation, `decode` returns its first picture.
    """
    return tf.io.decode_image(encoded, channels=channels, expand_animations=False)


def find_pictures(directory: str) -> list[str]:
    """Finds the pictures in a directory and in all directories below it.

    A file is a picture if it has the extension of a picture, or its content starts like one of the `FORMATS`.
    The companion files of macOS (`._x.jpg`) are not pictures. A warning tells how many files were left out.

    Returns:
      Paths, sorted.

    Raises:
      UserError: a directory cannot be read.
    """
    walk = os.walk(directory, onerror=_refuse_unreadable)
    files = sorted(os.path.join(parent, name) for parent, _, names in walk for name in names)
    found = [path for path in files if _looks_like_picture(path)]
    if len(found) < len(files):
        others = set(files).difference(found)
        _warn_of_others(directory, len(others), min(others))
    return found


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f'{printable(error.filename)} cannot be read ({error.strerror}): allow reading it, or move it away'
    ) from error


def _looks_like_picture(path: str) -> bool:
    name = os.path.basename(path).lower()
    if name.startswith(_OF_MACOS):
        return False
    if name.endswith(EXTENSIONS):
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


def open_picture(file: IO[bytes]) -> Image.Image:
    """Opens a picture without decoding it, and checks the header, the size and the checksums of a PNG.

    Args:
      file: a binary file, at its beginning.

    Raises:
      ValueError: the picture has more than `MAX_PIXELS` pixels, or none of the `FORMATS`.
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


def crop_and_resize(pictures: Any, data: config.Data) -> tf.Tensor:
    """Crops by the dataset's rule, resizes with antialiasing and converts between grey and colour.

    It enlarges pictures that are smaller than `data.image_size`, with one warning per dataset.

    Args:
      pictures: uint8 [..., h, w, c] with at most one leading dimension and c = 1 or 3.
      data: resolved options, see `dataset_table.resolve`.

    Returns:
      uint8 [..., H, W, C].
    """
    rule = dataset_table.find_spec(data.dataset).crop
    pictures = _crop(tf.convert_to_tensor(pictures), rule)
    if pictures.shape[-3:] == [data.image_size, data.image_size, data.image_channels]:
        return pictures
    if any(side is not None and side < data.image_size for side in pictures.shape[-3:-1]):
        _warn_of_enlarging(data)
    method = 'area' if rule == 'pad' else 'bilinear'
    with tf.device('CPU'):  # A GPU may round the colours differently.
        images = tf.image.resize(tf.cast(pictures, tf.float32), [data.image_size] * 2, method, antialias=True)
        if images.shape[-1] == 3 and data.image_channels == 1:
            images = tf.image.rgb_to_grayscale(images)
        elif images.shape[-1] == 1 and data.image_channels == 3:
            images = tf.image.grayscale_to_rgb(images)
        return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)


@functools.cache
def _warn_of_enlarging(data: config.Data) -> None:
    logging.warning(
        'Pictures of %s are smaller than --image_size=%d: enlarged', data.dataset, data.image_size
    )


def _crop(pictures: tf.Tensor, rule: str) -> tf.Tensor:
    if rule == 'pad':
        return tf.image.resize_with_crop_or_pad(pictures, _PADDED_SIZE, _PADDED_SIZE)
    if rule == 'rows':
        return pictures[..., _ROWS_CUT:-_ROWS_CUT, :, :]
    if rule == 'square':
        height, width = (pictures.shape[axis] or tf.shape(pictures)[axis] for axis in (-3, -2))
        if isinstance(height, int) and isinstance(width, int):
            side = min(height, width)
        else:
            side = tf.minimum(height, width)
        top = (height - side) // 2
        left = (width - side) // 2
        return pictures[..., top : top + side, left : left + side, :]
    return pictures
