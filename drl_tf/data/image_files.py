"""Reads images of one size from a `.npz` or `.npy` array, or from a directory of pictures.

A damaged file raises an error that names it. So does an image of another size or kind, unless pictures are
resized.
"""

import concurrent.futures
import contextlib
import functools
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from drl_tf.base.errors import UserError, one_line
from drl_tf.data import picture_files
from drl_tf.data.picture_files import FORMATS, find_pictures, open_picture

ARRAY_NAMES = ('images', 'samples', 'arr_0')
_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA')
BATCH = 256
_THREADS = 4


def count(path: str) -> int:
    """Returns the number of images in an array file (`.npy`, `.npz`) or a directory of pictures.

    Pictures in sub-directories count too.

    Raises:
      UserError: there are no images, or the array file is missing, damaged or of another kind.
    """
    if os.path.isdir(path):
        return len(_find(path))
    with _array(path) as (_, shape):
        return shape[0]


def read(
    path: str, image_shape: Sequence[int], count: int | None = None, resize: bool = False
) -> Iterator[np.ndarray]:
    """Reads the images of an array file or a directory, in batches of at most 256.

    Args:
      path: a directory, whose pictures come in the order of their paths, sub-directories included; or a file
        `.npy` or `.npz` with an array uint8 [N, H, W, C], in `.npz` under the name `images`, `samples` or
        `arr_0`.
      image_shape: [H, W, C] of the images. Grey pictures are accepted for C = 3. Colour pictures are accepted
        for C = 1 if all their pixels are grey.
      count: how many images to read of a directory at most; None: all.
      resize: whether to crop and resize pictures of a directory, as `picture` does.

    Yields:
      uint8 [n, H, W, C].

    Raises:
      UserError: there are no images, or an image is damaged or of another kind; the message names the file.

    Example:
      for images in read('samples.npz', (32, 32, 3)):
          ...
    """
    shape = tuple(image_shape)
    if os.path.isdir(path):
        return _picture_batches(path, shape, count, resize)
    return _array_batches(path, shape)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Context manager: turns errors about a file into one-line `UserError`s."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # zipfile, NumPy and Pillow raise errors of many kinds on damaged files.
        raise UserError(
            f'{path} is damaged or not what its name says ({one_line(error)}): make it again, or remove it'
        ) from error


@contextlib.contextmanager
def _array(path: str) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """Context manager: opens an array; yields a stream of the values, and the shape (N, H, W, C)."""
    if not os.path.exists(path):
        raise UserError(f'{path} does not exist: give a .npz or .npy file, or a directory of images')
    if not _is_kind(path, '.npz', '.npy'):
        raise UserError(f'{path} is of an unknown kind: give a .npz or .npy file, or a directory of images')
    with _readable(path), _stream(path) as file:
        yield file, _shape(file, path)


@contextlib.contextmanager
def _stream(path: str) -> Iterator[IO[bytes]]:
    """Context manager: opens and yields a `.npy` file, alone or in a `.npz`."""
    if _is_kind(path, '.npy'):
        with open(path, 'rb') as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        there = [name.removesuffix('.npy') for name in archive.namelist()]
        found = [name for name in ARRAY_NAMES if name in there]
        if not found:
            raise UserError(
                f'{path} holds {", ".join(there) or "nothing"}, but no array called '
                f'{", ".join(ARRAY_NAMES)}: rename it'
            )
        with archive.open(f'{found[0]}.npy') as file:
            yield file


def _is_kind(path: str, *extensions: str) -> bool:
    return os.fspath(path).lower().endswith(extensions)


def _shape(file: IO[bytes], path: str) -> tuple[int, ...]:
    """Reads the header of an array of images, and returns the shape (N, H, W, C)."""
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


def _array_batches(path: str, image_shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    with _array(path) as (file, shape):
        channels_first = (image_shape[-1], *image_shape[:-1])
        if shape[1:] == channels_first != image_shape:
            raise UserError(
                f'{path} has its channels first, {list(shape)}: save it as [N, H, W, C], with '
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
        if file.read(1):  # Reading to the end also checks the checksum of a .npz.
            raise ValueError('longer than its header says')


def _find(directory: str) -> list[str]:
    """Returns the paths of the pictures, sorted; raises UserError if there are none."""
    paths = find_pictures(directory)
    if not paths:
        raise UserError(
            f'{directory} holds no images: neither shards of --mode=sample nor pictures '
            f'({", ".join(FORMATS)})'
        )
    return paths


def _picture_batches(
    directory: str, image_shape: tuple[int, ...], count: int | None, resize: bool
) -> Iterator[np.ndarray]:
    paths = _find(directory)[:count]
    read_one = functools.partial(picture, image_shape=image_shape, resize=resize)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(paths), BATCH):
            mine = paths[first : first + BATCH]
            yield np.stack(list(pool.map(read_one, mine)))


def picture(path: str, image_shape: tuple[int, ...], resize: bool = False) -> np.ndarray:
    """Reads one picture file, such as a PNG.

    Args:
      path: the file.
      image_shape: the required (H, W, C). Grey pictures are accepted for C = 3. Colour pictures are accepted
        for C = 1 if all their pixels are grey.
      resize: whether to take pictures of any size and kind, crop and resize them as training does with the
        user's own pictures (`images.to_shape`), and make transparent parts white.

    Returns:
      uint8 [H, W, C].

    Raises:
      UserError: the file is damaged; or, without `resize`, it is partly transparent, or has another size or
        kind of pixels.
    """
    with _readable(path):
        if not os.path.isfile(path):
            raise ValueError('no regular file')
        with open(path, 'rb') as file:
            if resize:
                from drl_tf.data import images  # Imports TensorFlow, which checks of files must not load.

                height, width, channels = image_shape
                return images.to_shape(picture_files.read(file), (height, width, channels))
            return _pixels(ImageOps.exif_transpose(open_picture(file)), path, image_shape)


def _pixels(picture: Image.Image, path: str, image_shape: tuple[int, ...]) -> np.ndarray:
    """Returns the pixels of a picture; raises UserError if its size or kind is wrong."""
    height, width, channels = image_shape
    if picture.size != (width, height):
        raise UserError(
            f'{path} is {picture.width} x {picture.height} pixels, not {width} x {height}: give it in this '
            'size (for pictures of --input and folder:DIR, --resize does that)'
        )
    if picture.mode not in _MODES:
        raise UserError(f'{path} has pixels of mode {picture.mode}: save it as 8-bit grey or RGB')
    if picture.has_transparency_data and picture.convert('RGBA').getchannel('A').getextrema() != (255, 255):
        raise UserError(f'{path} is partly transparent: save it as RGB without alpha')
    colour = np.asarray(picture.convert('RGB'))
    if channels == 3:
        return colour
    if (colour != colour[..., :1]).any():
        raise UserError(f'{path} has colours, but grey images are needed: save it as 8-bit grey')
    return colour[..., :1]
