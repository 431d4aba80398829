"""The user's own picture files."""

import concurrent.futures
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

    Every 20th usable file is the test split; of fewer than 20 it is the last one, and a single file is in
    both splits. Each broken file is named in a warning and left out.

    Args:
      data: resolved, see `dataset_table.resolve`.
      split: 'train' or 'test'.

    Returns:
      uint8 [N, H, W, C].

    Raises:
      UserError: there is no such directory, a directory cannot be read, there is no picture or none is sound,
        or there are more than memory should hold.
    """
    everything = read_all(data)
    if len(everything) == 1:
        return everything
    held_out = np.arange(1, len(everything) + 1) % min(_HELD_OUT_EVERY, len(everything)) == 0
    return everything[held_out if split == 'test' else ~held_out]


@functools.lru_cache(maxsize=1)
def read_all(data):
    """All usable images, uint8 [N, H, W, C]."""
    paths = _find(data.data_dir)
    size = data.image_size
    if not images.fit_in_memory(len(paths), data):
        raise UserError(
            f'--data_dir={data.data_dir} holds {len(paths)} images, at {size} px more than '
            f'{images.MAX_BYTES_IN_MEMORY / 2**30:g} GiB in memory: take fewer or a smaller --image_size'
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


def _find(directory):
    if not directory:
        raise UserError('--dataset=folder needs --data_dir, the directory of your pictures')
    if not os.path.isdir(directory):
        raise UserError(f'--data_dir={directory} is not a directory: give the one of your pictures')
    paths = images.find_pictures(directory)
    if not paths:
        raise UserError(f'--data_dir={directory} holds no picture ({", ".join(images.FORMATS)})')
    return paths


def _read(path, data):
    """uint8 [H, W, C], or None after a warning."""
    try:
        if not os.path.isfile(path):
            raise ValueError('no regular file')
        with open(path, 'rb') as file:
            picture = images.open_picture(file)
            return images.crop_and_resize(np.asarray(_colour(ImageOps.exif_transpose(picture))), data).numpy()
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files.
        logging.warning(
            'Skipped %s, a broken image: %s', printable(path), printable(error or type(error).__name__)
        )
        return None


def _colour(image):
    """Any mode to RGB: 16 bits are scaled to 8, and what is transparent shows white."""
    if image.mode.startswith('I'):
        values = np.asarray(image)
        grey = np.rint(values / 257).astype(np.uint8)
        image = Image.fromarray(np.where(values == image.info.get('transparency', -1), np.uint8(255), grey))
    if image.has_transparency_data:
        opaque = Image.new('RGBA', image.size, 'white')
        image = Image.alpha_composite(opaque, image.convert('RGBA'))
    return image.convert('RGB')
