"""The masks of --mode=inpaint: which pixels are missing."""

from __future__ import annotations

import os
import re

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.data import image_files

_RANDOM = re.compile(r'random:(0?\.\d+)')
_RECTANGLE = re.compile(r'\d{1,6}(,\d{1,6}){3}')
_WHITE = 128


def missing(mask: str, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns a mask of the missing pixels of each image, True where a pixel is missing.

    Args:
      mask: 'half' (the lower half), 'top,left,height,width' (a rectangle in pixels), 'random:0.7' (each pixel
        is missing with probability 0.7, drawn anew for each image), or the path of a picture of the same size
        as the images, which is white where pixels are missing.
      count: number of images.
      height, width: size of the images in pixels.
      seed: seed of 'random'; the missing pixels of image i depend on (seed, i) only.

    Returns:
      bool [count, height, width, 1].

    Raises:
      UserError: the mask is none of these, the rectangle extends beyond the images, the picture has another
        size, or no pixel is missing.

    Examples:
      >>> missing('0,0,1,2', count=1, height=2, width=3)[0, ..., 0].astype(int).tolist()
      [[1, 1, 0], [0, 0, 0]]
    """
    check(mask, height, width)
    if found := _RANDOM.fullmatch(mask):
        draws = [np.random.default_rng([seed, i]).random([height, width, 1]) for i in range(count)]
        holes = np.stack(draws) < float(found[1])
        if not holes.any():
            raise UserError(f'--mask={mask} misses no pixel: give a larger share')
        return holes
    hole = np.zeros([height, width, 1], bool)
    if mask == 'half':
        hole[height // 2 :] = True
    elif _RECTANGLE.fullmatch(mask):
        top, left, rows, columns = map(int, mask.split(','))
        hole[top : top + rows, left : left + columns] = True
    else:
        hole = image_files.picture(mask, (height, width, 1)) >= _WHITE
    if not hole.any():
        raise UserError(f'--mask={mask} misses no pixel: paint the missing pixels white')
    return np.repeat(hole[None], count, axis=0)


def check(mask: str, height: int, width: int) -> None:
    """Raises UserError if a mask is of an unknown kind, its file is missing, or its rectangle does not fit.

    Args:
      mask: 'half', 'top,left,height,width', 'random:SHARE' or the path of a picture.
      height: height of the images in pixels.
      width: width of the images in pixels.
    """
    if mask == 'half' or _RANDOM.fullmatch(mask):
        return
    if mask.startswith('random:'):
        raise UserError(f'--mask={mask} must have a share above 0 and below 1, such as random:0.7')
    if _RECTANGLE.fullmatch(mask):
        top, left, rows, columns = map(int, mask.split(','))
        if not (rows and columns) or top + rows > height or left + columns > width:
            raise UserError(
                f'--mask={mask} must be a rectangle top,left,height,width within {height} x {width} pixels'
            )
        return
    if not os.path.isfile(mask):
        raise UserError(
            f'--mask={mask} must be half, random:0.7, a rectangle top,left,height,width, or a picture of '
            f'{width} x {height} pixels, white where pixels are missing'
        )
