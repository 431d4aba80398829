"""Images of one size in files that were made elsewhere: a `.npz` or `.npy` array, or a directory of
pictures.

Nothing is resized or guessed: an image of another size or kind, or a damaged file, is refused by name.
"""

import concurrent.futures
import contextlib
import math
import os
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import ImageOps

from drl_tf.base.errors import UserError, one_line
from drl_tf.data.images import FORMATS, find_pictures, open_picture

ARRAY_NAMES = ('images', 'samples', 'arr_0')
_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA')
BATCH = 256
_THREADS = 4


def count(path: str) -> int:
    """How many images there are; raises UserError as `read` does."""
    if os.path.isdir(path):
        return len(_find(path))
    with _array(path) as (_, shape):
        return shape[0]


def read(path: str, image_shape) -> Iterator[np.ndarray]:
    """Reads images, at most 256 at a time: an array in its order, pictures in the order of their paths.

    Args:
      path: a directory, searched with all below it; or an array uint8 [N, H, W, C] in a `.npy` file, or in a
        `.npz` file under the name `images`, `samples` or `arr_0`.
      image_shape: [H, W, C] of each image. Grey pictures are taken where C = 3, and colour pictures without
        colour where C = 1.

    Yields:
      uint8 [n, H, W, C].

    Raises:
      UserError: there is nothing, something damaged, or images of another kind; the message names the file.
    """
    return (
        _picture_batches(path, tuple(image_shape))
        if os.path.isdir(path)
        else _array_batches(path, tuple(image_shape))
    )


@contextlib.contextmanager
def _readable(path):
    """Tells what is wrong with a file in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # zipfile, NumPy and Pillow raise errors of many kinds on damaged files.
        raise UserError(
            f'{path} is damaged or not what its name says ({one_line(error)}): make it again, or take it out'
        ) from error


@contextlib.contextmanager
def _array(path):
    """An open stream of an array's values and its shape (N, H, W, C), in constant memory."""
    if not os.path.exists(path):
        raise UserError(f'{path} does not exist: give a .npz or .npy file, or a directory of images')
    if not _is_kind(path, '.npz', '.npy'):
        raise UserError(f'{path} is of no kind that is read: .npz, .npy, or a directory of images')
    with _readable(path), _stream(path) as file:
        yield file, _shape(file, path)


@contextlib.contextmanager
def _stream(path):
    """The open `.npy` file, alone or within a `.npz`."""
    if _is_kind(path, '.npy'):
        with open(path, 'rb') as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        there = [name.removesuffix('.npy') for name in archive.namelist()]
        found = [name for name in ARRAY_NAMES if name in there]
        if not found:
            raise UserError(
                f'{path} holds {", ".join(there) or "nothing"}, and no array called '
                f'{", ".join(ARRAY_NAMES)}: rename it'
            )
        with archive.open(f'{found[0]}.npy') as file:
            yield file


def _is_kind(path, *extensions):
    return os.fspath(path).lower().endswith(extensions)


def _shape(file, path):
    """Reads the header of an array of images."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, is_fortran, dtype = read_header[np.lib.format.read_magic(file)](file)
    if dtype != np.uint8:
        raise UserError(f'{path} holds numbers of type {dtype}: save grey levels, 0 to 255, as uint8')
    if len(shape) != 4 or shape[0] < 1:
        raise UserError(
            f'{path} holds an array of shape {list(shape)}: it must be [N, H, W, C], with at least one image'
        )
    if is_fortran:
        raise UserError(f'{path} is in Fortran order: save np.ascontiguousarray of it')
    return shape


def _array_batches(path, image_shape):
    with _array(path) as (file, shape):
        channels_first = (image_shape[-1], *image_shape[:-1])
        if shape[1:] == channels_first != image_shape:
            raise UserError(
                f'{path} has its channels first, {list(shape)}: save it as [N, H, W, C], by '
                'np.transpose(images, (0, 2, 3, 1))'
            )
        if shape[1:] != image_shape:
            raise UserError(
                f'{path} holds images of {list(shape[1:])}, where {list(image_shape)} [H, W, C] are needed'
            )
        for first in range(0, shape[0], BATCH):
            rows = min(BATCH, shape[0] - first)
            content = file.read(rows * math.prod(image_shape))
            yield np.frombuffer(content, np.uint8).reshape(rows, *image_shape)
        if file.read(1):  # The checksum of a .npz is compared at the end.
            raise ValueError('longer than its header says')


def _find(directory):
    """Paths of the pictures, sorted."""
    paths = find_pictures(directory)
    if not paths:
        raise UserError(
            f'{directory} holds no samples: neither shards of --mode=sample nor pictures '
            f'({", ".join(FORMATS)})'
        )
    return paths


def _picture_batches(directory, image_shape):
    paths = _find(directory)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(paths), BATCH):
            mine = paths[first : first + BATCH]
            yield np.stack(list(pool.map(_picture, mine, [image_shape] * len(mine))))


def _picture(path, image_shape):
    """One picture, uint8 [H, W, C]."""
    with _readable(path):
        if not os.path.isfile(path):
            raise ValueError('no regular file')
        with open(path, 'rb') as file:
            return _pixels(ImageOps.exif_transpose(open_picture(file)), path, image_shape)


def _pixels(picture, path, image_shape):
    height, width, channels = image_shape
    if picture.size != (width, height):
        raise UserError(
            f'{path} is {picture.width} x {picture.height} pixels, not {width} x {height}: samples are '
            'compared as they are'
        )
    if picture.mode not in _MODES:
        raise UserError(f'{path} has pixels of mode {picture.mode}: save it as 8-bit grey or RGB')
    if picture.has_transparency_data and picture.convert('RGBA').getextrema()[3] != (255, 255):
        raise UserError(f'{path} is transparent in part: save it as RGB without alpha')
    colour = np.asarray(picture.convert('RGB'))
    if channels == 3:
        return colour
    if (colour != colour[..., :1]).any():
        raise UserError(f'{path} has colours, where grey images are needed: save it as 8-bit grey')
    return colour[..., :1]
