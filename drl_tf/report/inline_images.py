"""Turns images into data URIs, so that a page contains them."""

from __future__ import annotations

import base64
import functools
import io
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

BUDGET = 2_000_000  # Largest number of bytes for the sample grids of a page.
_LARGEST_SIDE = 800  # Pixels; larger grids are scaled down.
_QUALITY = 80
_MOST_GRIDS = 40


def of_array(image: np.ndarray) -> str:
    """Returns an image, uint8 [H, W, C] with C = 1 or 3, as the data URI of a PNG file.

    Examples:
      >>> of_array(np.zeros([2, 2, 1], np.uint8))[:22]
      'data:image/png;base64,'
    """
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format='png')
    return _uri('png', file)


def of_file(path: str) -> str | None:
    """Returns the picture in a file as the data URI of a WebP file, with at most 800 pixels per side.

    Args:
      path: path of the file.

    Returns:
      The URI; None if the file is missing or damaged.
    """
    try:
        status = os.stat(path)
        return _reduced(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow raises all of these.
        return None


@functools.lru_cache(maxsize=2 * _MOST_GRIDS)
def _reduced(path: str, changed_at: int, size: int) -> str:
    """Returns the URI of `of_file`; `changed_at` and `size` make the cache notice a changed file."""
    del changed_at, size
    with Image.open(path) as image:
        image.load()
        small = image.convert('L' if image.mode == 'L' else 'RGB')
        small.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.BOX)
        file = io.BytesIO()
        small.save(file, format='webp', quality=_QUALITY)
        return _uri('webp', file)


def _uri(kind: str, file: io.BytesIO) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}'


def of_grids(grids: Mapping[int, str], problems: list[str], budget: int = BUDGET) -> dict[int, str]:
    """Reads pictures of samples as data URIs, which together take at most `budget` bytes.

    If there are more than 40 pictures, or if they take more than `budget` bytes, only every second picture is
    kept, or every third, and so on. The last picture is always kept, even if it alone takes more.

    Args:
      grids: {training step: path of the picture}, ascending.
      problems: list to which a sentence is added for each damaged file.
      budget: largest total number of bytes.

    Returns:
      {training step: URI}, ascending.
    """
    steps = list(grids)
    broken: set[int] = set()
    found: dict[int, str] = {}
    for stride in range(max(1, -(-len(steps) // _MOST_GRIDS)), len(steps) + 1):
        chosen = steps[::-1][::stride][::-1]
        found = {}
        for step in chosen:
            uri = of_file(grids[step])
            if uri:
                found[step] = uri
            elif step not in broken:
                broken.add(step)
                problems.append(f'{os.path.basename(grids[step])} is damaged, and is left out.')
        if sum(map(len, found.values())) <= budget:
            break
    return found
