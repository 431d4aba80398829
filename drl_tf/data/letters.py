"""Draws pictures of Latin letters: images that are no digits, to test out-of-distribution detection."""

from __future__ import annotations

import itertools
import os
import string
from collections.abc import Sequence

import matplotlib
import numpy as np
from fontTools import ttLib
from PIL import Image, ImageDraw, ImageFont

LETTERS = [letter for letter in string.ascii_letters if letter not in 'OoIl']  # These look like digits.
_HEIGHT = 3 / 4  # Font size, as a share of the image's height.
_FAMILIES = ('DejaVuSans', 'DejaVuSerif', 'STIXGeneral', 'cm')


def fonts() -> list[str]:
    """Returns the paths of the fonts in matplotlib that have all letters but O, o, I and l, sorted.

    Examples:
      >>> os.path.basename(fonts()[0]), len(fonts()) > 10
      ('DejaVuSans-Bold.ttf', True)
    """
    directory = os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf')
    names = sorted(name for name in os.listdir(directory) if name.startswith(_FAMILIES))
    return [path for path in (os.path.join(directory, name) for name in names) if _has_letters(path)]


def _has_letters(path: str) -> bool:
    """Returns whether a font has a glyph for each of the letters; the glyph must have the letter's name."""
    with ttLib.TTFont(path, lazy=True) as font:
        glyphs = font.getBestCmap() or {}
        return all(glyphs.get(ord(letter)) == letter for letter in LETTERS)


def draw(shape: Sequence[int], files: Sequence[str | None] | None = None) -> np.ndarray:
    """Draws pictures of one white letter on black: all letters in the first font, then in the next.

    The letters are a to z and A to Z without O, o, I and l, which look like digits. If n is larger than the
    number of letters times fonts, the pictures repeat.

    Args:
      shape: [n, H, W, C] of the result.
      files: paths of fonts; an entry None means the font in Pillow. By default all of `fonts()`.

    Returns:
      uint8 [n, H, W, C].

    Examples:
      >>> draw([2, 16, 16, 1]).max(axis=(1, 2, 3)).tolist()
      [255, 255]
    """
    count, height, width, channels = shape
    drawn = []
    for path, letter in itertools.islice(
        itertools.product(fonts() if files is None else files, LETTERS), count
    ):
        image = Image.new('L', (width, height))
        font = _font(path, _HEIGHT * height)
        ImageDraw.Draw(image).text((width / 2, height / 2), letter, 255, font, anchor='mm')
        drawn.append(np.asarray(image))
    one_by_one = np.resize(np.stack(drawn), (count, height, width))
    return np.repeat(one_by_one[..., None], channels, axis=-1)


def _font(path: str | None, size: float) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
