"""Reads a dataset from a `.npz` file with `images` and optional `labels`, `test_images` and `test_labels`."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from typing import Literal

import numpy as np

from drl_tf.base.errors import UserError, one_line
from drl_tf.config import config
from drl_tf.data.opened import MOST_CLASSES, Opened, Pictures, count_classes

_LOCAL_HEADER = 30  # Bytes of the header before the name of each file in a zip archive.


def open_data(data: config.Data) -> Opened:
    """Opens the user's images in a `.npz` file.

    Images written by `np.savez` are read when they are used; those written by `np.savez_compressed` are read
    into memory at once.

    Args:
      data: options of the dataset; `data_dir` is the path of the file.

    Returns:
      An `Opened`, whose attributes `train` and `test` hold the pictures and classes of the two splits. `test`
      is None if the file has no array `test_images`.

    Raises:
      UserError: the file is missing or damaged, lacks the array `images`, or an array has a wrong type or
        shape.
    """
    path = data.data_dir
    place = f'--dataset=npz:{path}'
    if not path:
        raise UserError('--dataset=npz needs a file: give --dataset=npz:FILE')
    if not os.path.isfile(path):
        raise UserError(f'{place}: there is no such file')
    with _readable(place):
        arrays = _arrays(path)
    if 'images' not in arrays:
        raise UserError(f'{place} holds {", ".join(arrays) or "nothing"}, but no array images: add it')
    train = _pictures(arrays, '', place)
    test = _pictures(arrays, 'test_', place) if 'test_images' in arrays else None
    if test and (test.labels is None) != (train.labels is None):
        raise UserError(f'{place} holds labels of one split alone: add the others, or drop these')
    shape = (*arrays['images'].shape[1:], 1)[:3]
    return Opened(
        place=place,
        train=train,
        test=test,
        num_classes=count_classes(train.labels, test.labels if test else None),
        image_shape=shape,
    )


@contextlib.contextmanager
def _readable(place: str) -> Iterator[None]:
    """Context manager: turns errors about a file into a one-line UserError."""
    try:
        yield
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        raise UserError(f'{place} is damaged or no .npz file ({one_line(error)}): make it again') from error


def _arrays(path: str) -> dict[str, np.ndarray]:
    """Opens the arrays of a `.npz` file, {name: array}; maps uncompressed arrays instead of reading them."""
    with zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix('.npy'): _array(path, archive, info)
            for info in archive.infolist()
            if info.filename.endswith('.npy')
        }


def _array(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        if info.compress_type != zipfile.ZIP_STORED:
            return np.lib.format.read_array(member, allow_pickle=False)
        version = np.lib.format.read_magic(member)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, dtype = header(member)
        header_bytes = member.tell()
    if dtype.hasobject:
        raise ValueError('Object arrays cannot be loaded')
    with open(path, 'rb') as file:
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), '<u2').astype(int)
    offset = info.header_offset + _LOCAL_HEADER + int(lengths.sum()) + header_bytes
    order: Literal['F', 'C'] = 'F' if is_fortran else 'C'
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, 'r', offset, shape, order)


def _pictures(arrays: dict[str, np.ndarray], prefix: str, place: str) -> Pictures:
    name = f'{prefix}images'
    images = arrays[name]
    if images.dtype != np.uint8:
        raise UserError(f'{place}: {name} are of type {images.dtype}: save grey levels, 0 to 255, as uint8')
    is_grey = images.ndim == 3
    if not (is_grey or (images.ndim == 4 and images.shape[-1] in (1, 3))) or not images.size:
        raise UserError(
            f'{place}: {name} have shape {list(images.shape)}: it must be [N, H, W] or [N, H, W, C] with '
            'C = 1 or 3, and at least one image'
        )
    return Pictures(
        count=len(images),
        read=lambda index: images[index][..., None] if is_grey else images[index],
        name=lambda index: f'{name}[{index}]',
        labels=_labels(arrays, prefix, len(images), place),
    )


def _labels(arrays: dict[str, np.ndarray], prefix: str, count: int, place: str) -> np.ndarray | None:
    name = f'{prefix}labels'
    labels = arrays.get(name)
    if labels is None:
        return None
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer) or not _are_classes(labels):
        raise UserError(
            f'{place}: {name} are {labels.dtype} {list(labels.shape)}: they must be {count} whole numbers '
            f'from 0, below {MOST_CLASSES:,}, or -1 for no class, one for each image'
        )
    return np.asarray(labels, np.int32)


def _are_classes(labels: np.ndarray) -> bool:
    return bool(labels.min(initial=0) >= -1 and labels.max(initial=0) < MOST_CLASSES)
