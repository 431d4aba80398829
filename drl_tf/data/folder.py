"""Picture files of the user."""

import concurrent.futures
import dataclasses
import functools
import os

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from drl_tf.base.errors import UserError, printable
from drl_tf.config import config
from drl_tf.data import images

_HELD_OUT_EVERY = 20
_THREADS = 4


def load(data: config.Data, split: str) -> np.ndarray:
    """Reads the images below `data.data_dir`, in the order of their paths, cropped and resized.

    Every 20th usable file is in the test split. With fewer than 20 files, only the last one is. A single file
    is in both splits. A broken file is skipped with a warning that names it.

    Args:
      data: resolved, see `dataset_table.resolve`.
      split: 'train' or 'test'.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: a directory is missing or cannot be read, no usable picture is found, or the images take more
        than `images.MAX_BYTES_IN_MEMORY`.
    """
    # Without the measurements, so that the pictures are read once before and after them.
    everything = read_all(dataclasses.replace(data, data_mean=(), data_std=0.0))
    if len(everything) == 1:
        return everything
    held_out = np.arange(1, len(everything) + 1) % min(_HELD_OUT_EVERY, len(everything)) == 0
    return everything[held_out if split == 'test' else ~held_out]


@functools.lru_cache(maxsize=1)
def read_all(data: config.Data) -> np.ndarray:
    """Reads all usable images, uint8 [N, H, W, C]; raises UserError where `load` does."""
    paths = _find(data.data_dir)
    size = data.image_size
    if not images.fit_in_memory(len(paths), data):
        raise UserError(
            f'--data_dir={data.data_dir} holds {len(paths)} images, at {size} px more than '
            f'{images.MAX_BYTES_IN_MEMORY / 2**30:g} GiB in memory: give fewer, or a smaller --image_size'
        )
    everything = np.empty([len(paths), size, size, data.image_channels], np.uint8)
    usable = 0
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for image in pool.map(functools.partial(_read, data=data), paths):
            if image is not None:
                everything[usable] = image
                usable += 1
    if not usable:
        raise UserError(
            f'--data_dir={data.data_dir} holds no usable image: all {len(paths)} files are broken'
        )
    if usable < len(paths):
        logging.warning('%d of %d images usable, %d broken', usable, len(paths), len(paths) - usable)
    return everything[:usable]


def _find(directory: str) -> list[str]:
    if not directory:
        raise UserError('--dataset=folder needs --data_dir, the directory of your pictures')
    if not os.path.isdir(directory):
        raise UserError(f'--data_dir={directory} is not a directory: give the one of your pictures')
    paths = images.find_pictures(directory)
    if not paths:
        raise UserError(f'--data_dir={directory} holds no picture ({", ".join(images.FORMATS)})')
    return paths


def _read(path: str, data: config.Data) -> np.ndarray | None:
    """Reads one image, uint8 [H, W, C]; warns and returns None if it is broken."""
    try:
        if not os.path.isfile(path):
            raise ValueError('no regular file')
        with open(path, 'rb') as file:
            picture = _to_rgb(ImageOps.exif_transpose(images.open_picture(file)))
            return images.crop_and_resize(np.asarray(picture), data).numpy()
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files.
        problem = printable(error or type(error).__name__)
        logging.warning('Skipped %s, a broken image: %s', printable(path), problem)
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Converts any mode to RGB: 16 bits are scaled to 8, and transparency becomes white."""
    if image.mode.startswith('I'):
        values = np.asarray(image)
        grey = np.rint(values / 257).astype(np.uint8)
        image = Image.fromarray(np.where(values == image.info.get('transparency', -1), np.uint8(255), grey))
    if image.has_transparency_data:
        opaque = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(opaque, image.convert('RGBA'))
    return image.convert('RGB')
