"""Loads the images to edit or score (--input), from the test split or from files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base.errors import UserError, printable
from drl_tf.data import image_files, picture_files

if TYPE_CHECKING:
    from drl_tf.config.config import Config

TEST = 'test'


def check(source: str, resize: bool = False) -> None:
    """Checks the options --input and --resize, without reading images.

    Args:
      source: the value of --input.
      resize: the value of --resize.

    Raises:
      UserError: `source` is neither 'test' nor an existing path; or it is no picture or directory of
        pictures, which alone can be resized.
    """
    if source != TEST and not os.path.exists(source):
        raise UserError(
            f'--input={source} does not exist: give test, a picture, a directory of pictures, or a .npz or '
            '.npy file'
        )
    if resize and (source == TEST or _is_array(source)):
        raise UserError(
            f'--resize is for pictures, and --input={source} is none: drop the flag, or give a picture or a '
            'directory of pictures'
        )


def names(source: str, count: int) -> list[str]:
    """Returns a printable name for each image of --input: the file name of a picture, else the index.

    Args:
      source: the value of --input: 'test' (the test split), or the path of a picture, of a directory of
        pictures, or of a .npz or .npy file.
      count: number of names to return, for the first images.
    """
    if os.path.isdir(source):
        found = picture_files.find_pictures(source)[:count]
        return [printable(os.path.relpath(path, source)) for path in found]
    if os.path.isfile(source) and not _is_array(source):
        return [printable(os.path.basename(source))]
    return [str(index) for index in range(count)]


def _is_array(source: str) -> bool:
    return source.lower().endswith(('.npz', '.npy'))


def load(
    config: Config, source: str, count: int | None, image_shape: tuple[int, int, int], resize: bool = False
) -> np.ndarray:
    """Loads the first images of --input.

    Args:
      config: the configuration of the model, whose dataset has the test split.
      source: 'test', or the path of a picture, of a directory of pictures, or of a .npz or .npy file.
      count: largest number of images to load; None: all.
      image_shape: (H, W, C) of each image.
      resize: whether to crop and resize pictures; without it, they must have this shape.

    Returns:
      uint8 [n, H, W, C], n at least 1.

    Raises:
      UserError: there are no images, or an image is damaged or of another size; the message names the file.
    """
    check(source, resize)
    if source == TEST:
        from drl_tf.data import pipeline  # Imports TensorFlow, which `check` must not load.

        return pipeline.load_images(config.data, 'test', count)
    if os.path.isfile(source) and not _is_array(source):
        return image_files.picture(source, image_shape, resize)[None]
    found: list[np.ndarray] = []
    for batch in image_files.read(source, image_shape, count, resize):
        found.append(batch if count is None else batch[: count - sum(map(len, found))])
        if count is not None and sum(map(len, found)) >= count:
            break
    return np.concatenate(found)
