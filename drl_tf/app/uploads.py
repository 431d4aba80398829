"""Reads what the user gives to the app: pictures and painted masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from drl_tf.app import limits
from drl_tf.base.errors import UserError, one_line
from drl_tf.data import picture_files
from drl_tf.editing import masks

PAINTED, HALF, RANDOM = 'painted', 'half', 'random:0.7'  # Values of `missing`.
_PAINTED_ALPHA = 64  # A pixel counts as painted from this mean opacity on, of 255.


def missing(
    shape: Sequence[int], kind: str, painted: Mapping[str, Any] | None = None, seed: int = 0
) -> np.ndarray:
    """Returns a mask of the pixels to replace.

    Args:
      shape: (H, W, C) of the image.
      kind: `PAINTED` (what the user painted), `HALF` (the lower half) or `RANDOM` (70 % of the pixels).
      painted: for `PAINTED`, the value of Gradio's `ImageEditor`: a dict whose entry 'layers' is a list of
        RGBA pictures, uint8 [h, w, 4]. They may have any size. Pixels with an opacity of 64 or more (of
        255) in any layer count as painted.
      seed: seed for `RANDOM`.

    Returns:
      True at the pixels to replace, bool [H, W, 1].

    Raises:
      UserError: nothing is painted.

    Examples:
      >>> int(missing((16, 16, 1), HALF).sum())
      128
    """
    height, width, _ = shape
    if kind != PAINTED:
        return masks.missing(kind, 1, height, width, seed)[0]
    hole = np.zeros([height, width, 1], bool)
    for layer in (painted or {}).get('layers', ()):
        opacity = Image.fromarray(np.asarray(layer)[..., 3]).resize((width, height), Image.Resampling.BOX)
        hole |= np.asarray(opacity)[..., None] >= _PAINTED_ALPHA
    if not hole.any():
        raise UserError('nothing is painted: paint over the pixels to replace, or choose another mask')
    return hole


def read_picture(path: str, shape: Sequence[int], invert: bool = False) -> np.ndarray:
    """Reads an uploaded picture of any size, cropped and resized to the model's image shape.

    Args:
      path: the file, PNG, JPEG, GIF, BMP or WebP, of at most 8 MiB.
      shape: (H, W, C) of the model's images.
      invert: whether to invert the brightness, as for ink on white paper.

    Returns:
      uint8 [H, W, C].

    Raises:
      UserError: the file is too large, or no picture.

    Example:
      read_picture('digit.png', (16, 16, 1), invert=True)  # uint8 [16, 16, 1]
    """
    height, width, channels = shape
    name = os.path.basename(path)
    if os.path.getsize(path) > limits.MOST_BYTES:
        raise UserError(f'{name} is larger than {limits.MOST_BYTES // 2**20} MiB: make it smaller')
    try:
        with open(path, 'rb') as file:
            opened = picture_files.open_picture(file)
            size = opened.width * opened.height
            if size <= limits.MOST_PIXELS:
                picture = picture_files.to_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # Pillow raises errors of many kinds on damaged files.
        raise UserError(f'{name} is not a picture that can be read ({one_line(error)})') from error
    if size > limits.MOST_PIXELS:
        raise UserError(f'{name} has {size:,} pixels: give at most {limits.MOST_PIXELS:,}')
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(fitted if channels == 3 else fitted.convert('L')).reshape(shape)
    return 255 - pixels if invert else pixels
