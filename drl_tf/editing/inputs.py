"""Loads the images to edit or score (--input), from the test split or from files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.data import image_files, picture_files

if TYPE_CHECKING:
    from drl_tf.config.config import Config

TEST = 'test'


def check(source: str) -> None:
    """Checks the value of --input; raises UserError if it is neither 'test' nor an existing path."""
    if source != TEST and not os.path.exists(source):
        raise UserError(
            f'--input={source} does not exist: give test, a picture, a directory of pictures, or a .npz or '
            '.npy file'
        )


def names(source: str, count: int) -> list[str]:
    """Returns a name for each image of --input: the file name of a picture, else the index, such as '0'.

    Args:
      source: the value of --input: 'test' (the test split), or the path of a picture, of a directory of
        pictures, or of a .npz or .npy file.
      count: number of names to return, for the first images.
    """
    if os.path.isdir(source):
        return [os.path.relpath(path, source) for path in picture_files.find_pictures(source)[:count]]
    if os.path.isfile(source) and not _is_array(source):
        return [os.path.basename(source)]
    return [str(index) for index in range(count)]


def _is_array(source: str) -> bool:
    return source.lower().endswith(('.npz', '.npy'))


def load(config: Config, source: str, count: int | None, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Loads the first images of --input, without resizing.

    Args:
      config: the configuration of the model, whose dataset has the test split.
      source: 'test', or the path of a picture, of a directory of pictures, or of a .npz or .npy file.
      count: largest number of images to load; None: all.
      image_shape: (H, W, C) of each image.

    Returns:
      uint8 [n, H, W, C], n at least 1.

    Raises:
      UserError: there are no images, or an image is damaged or of another size; the message names the file.
    """
    check(source)
    if source == TEST:
        from drl_tf.data import pipeline  # Imports TensorFlow, which `check` must not load.

        return pipeline.load_images(config.data, 'test', count)
    if os.path.isfile(source) and not _is_array(source):
        return image_files.picture(source, image_shape)[None]
    found: list[np.ndarray] = []
    for batch in image_files.read(source, image_shape):
        found.append(batch if count is None else batch[: count - sum(map(len, found))])
        if count is not None and sum(map(len, found)) >= count:
            break
    return np.concatenate(found)
