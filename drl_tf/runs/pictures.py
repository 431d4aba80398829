"""Grids of images as PNG files, and progress bars."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tqdm
from PIL import Image, ImageDraw

from drl_tf.base import pixels
from drl_tf.base.files import written_aside
from drl_tf.data import plane

HEADER = 16  # Pixels: height of a line of text.
_SIDE = 24  # Pixels: width of the texts left of the rows.
_SMALLEST_SIDE = 512  # Pixels: smaller pictures are enlarged.
_MOST_ROWS = 16  # In a grid, up to this many classes have a row each.
_CLASS_COLUMNS = 10
_CLOUD_SIDE = 128  # Pixels.
_CLOUD_EDGE = 1.5  # A cloud shows [-1.5, 1.5] squared.


def kept(images: Any) -> np.ndarray:
    """Converts images to uint8, the type in which files store them.

    Args:
      images: float32 [n, H, W, C] in [-1, 1]. Or points of a two-dimensional toy dataset, float32
        [n, 1, 1, 2].

    Returns:
      Images as uint8 [n, H, W, C]; points as they are.
    """
    return np.asarray(images) if _are_points(images) else pixels.to_uint8(images)


def _are_points(images: Any) -> bool:
    return tuple(images.shape[1:]) == plane.IMAGE_SHAPE


def _cloud(points: Any) -> np.ndarray:
    """Draws points of the plane, float32 [n, 1, 1, 2], as counts in [-1.5, 1.5]^2, uint8 [128, 128, 1]."""
    x, y = np.asarray(points).reshape(-1, 2).T
    bounds = [[-_CLOUD_EDGE, _CLOUD_EDGE]] * 2
    counts = np.histogram2d(-y, x, _CLOUD_SIDE, bounds)[0]
    return np.round(255 * np.sqrt(counts / max(counts.max(), 1))).astype(np.uint8)[..., None]


def square(images: np.ndarray) -> np.ndarray:
    """Arranges images in a grid with about as many rows as columns; black images fill the last row.

    Args:
      images: [n, H, W, C]. Points of the plane, float32 [n, 1, 1, 2], become a single picture of all points.

    Returns:
      [rows, columns, H, W, C].
    """
    if _are_points(images):
        return _cloud(images)[None, None]
    root = math.ceil(math.sqrt(len(images)))
    fitting = [columns for columns in range(root, 2 * root) if len(images) % columns == 0]
    return _in_rows(images, fitting[0] if fitting else root)


def _in_rows(images: np.ndarray, columns: int) -> np.ndarray:
    rows = -(-len(images) // columns)
    missing = np.zeros((rows * columns - len(images), *images.shape[1:]), images.dtype)
    return np.concatenate([images, missing]).reshape(rows, columns, *images.shape[1:])


def grid(images: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """Arranges images in a grid, [rows, columns, H, W, C], with a row for each class if possible.

    Args:
      images: [n, H, W, C]; image i has the class i mod `num_classes`.
      num_classes: number of classes, 0 for none. With 1 to 16 classes and at least two images per class, each
        class has a row of at most 10 images, and the grid omits the rest. Otherwise, it shows all images in
        about as many rows as columns.
    """
    if not 0 < num_classes <= _MOST_ROWS or len(images) < 2 * num_classes:
        return square(images)
    return _in_rows(images[: _CLASS_COLUMNS * num_classes], num_classes).swapaxes(0, 1)


def class_captions(classes: np.ndarray, num_classes: int = 0) -> dict[str, list]:
    """Returns texts that name the class of each image in a grid, to pass to `save_png`.

    Args:
      classes: class number from 0 of each image, int [n].
      num_classes: the argument `num_classes` of the call of `grid` that arranges the images.

    Returns:
      Keyword arguments of `save_png`. If all images of each row have the same class, {'side': a text for each
      row}; else {'captions': for each row, a text for each image}.
    """
    count = len(classes)
    shown = grid(np.arange(1, count + 1).reshape([-1, 1, 1, 1]), num_classes)[..., 0, 0, 0]  # 0: empty.
    texts = [[str(classes[number - 1]) if number else '' for number in row] for row in shown]
    if all(len({text for text in row if text}) == 1 for row in texts):
        return {'side': [row[0] for row in texts]}
    return {'captions': texts}


def turn_captions(count: int, num_classes: int) -> dict[str, list]:
    """Returns texts that name the class of each image in a grid, for images that take all classes in turn.

    Args:
      count: number of images; image i has the class i mod `num_classes`.
      num_classes: number of classes, 0 for none.

    Returns:
      Keyword arguments of `save_png`. If all images of each row have the same class, {'side': a text for each
      row}; else {'captions': for each row, a text for each image}. {} without classes.
    """
    if not num_classes:
        return {}
    return class_captions(np.arange(count) % num_classes, num_classes)


def tile(cells: np.ndarray) -> np.ndarray:
    """Joins a grid of images into one image: [rows, columns, H, W, C] -> [rows * H, columns * W, C]."""
    rows, columns, height, width, channels = cells.shape
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def save_png(
    path: str,
    cells: np.ndarray,
    header: Sequence[str] = (),
    side: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
) -> None:
    """Writes a grid of images with optional texts as a PNG file; small pictures are enlarged.

    Args:
      path: the PNG file.
      cells: the images, uint8 [rows, columns, H, W, C].
      header: a text above each column; empty for none.
      side: a text left of each row; empty for none.
      captions: for each row, one text for each image, drawn above the image; empty for none.
    """
    rows, columns, height, width, _ = cells.shape
    scale = max(1, -(-_SMALLEST_SIDE // max(rows * height, columns * width)))
    cells = cells.repeat(scale, axis=2).repeat(scale, axis=3)
    above = HEADER if captions else 0
    picture = tile(np.pad(cells, ((0, 0), (0, 0), (above, 0), (0, 0), (0, 0))))
    left = _SIDE if side else 0
    top = HEADER if header else 0
    image = to_pil(np.pad(picture, ((top, 0), (left, 0), (0, 0))))
    draw = ImageDraw.Draw(image)

    def write(text: str, row: int, column: int) -> None:
        """Centres a text in the line above a cell."""
        x = left + (column + 0.5) * scale * width - draw.textlength(text) / 2
        draw.text((x, row * (scale * height + above) + 2), text, fill='white')

    for column, text in enumerate(header):
        write(text, 0, column)
    for row, text in enumerate(side):
        y = top + (row + 0.5) * scale * height - HEADER / 2
        draw.text((left - 4 - draw.textlength(text), y), text, fill='white')
    for row, texts in enumerate(captions):
        for column, text in enumerate(texts):
            write(text, row, column)
    with written_aside(path, 'wb') as file:
        image.save(file, format='png')


def to_pil(image: np.ndarray) -> Image.Image:
    """Converts an image, uint8 [H, W, C] with C = 1 or 3, to a PIL image."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save_each(directory: str, batches: Iterable[np.ndarray], first: int = 0) -> None:
    """Writes each image to a file of its own, named by its index, such as `000123.png`.

    Args:
      directory: the directory; created if it is missing.
      batches: batches of images, uint8 [n, H, W, C] each.
      first: index of the first image.
    """
    os.makedirs(directory, exist_ok=True)
    for index, image in enumerate(itertools.chain.from_iterable(batches), first):
        _save_image(os.path.join(directory, f'{index:06d}.png'), image)


def _save_image(path: str, image: np.ndarray) -> None:
    """Writes one image, uint8 [H, W, C] with C = 1 or 3, as a PNG file."""
    with written_aside(path, 'wb') as file:
        to_pil(image).save(file, format='png')


def trajectory(states: Sequence[Any], count: int) -> np.ndarray:
    """Arranges noisy images in a grid: a row for each image, a column for each noise level.

    Args:
      states: [x_T, ..., x_0], the images at several noise levels from noise to the samples, each
        float32 [n, H, W, C].
      count: number of images to show. Points of the plane take a single row instead, with one picture of all
        points for each level.

    Returns:
      uint8 [rows, number of states, H, W, C].
    """
    if _are_points(states[0]):
        return np.stack([_cloud(state) for state in states])[None]
    return np.stack([pixels.to_uint8(state[:count]) for state in states], axis=1)


def progress_bar(
    total: float, what: str, done: float = 0, silent: bool = False, unit: str = ' images'
) -> tqdm.tqdm:
    """Returns a `tqdm` progress bar, updated every second on a terminal, every half minute in a log file.

    Args:
      total: amount at which the bar is full.
      what: label of the bar.
      done: amount at which the bar begins.
      silent: True shows nothing.
      unit: unit of the amounts, with a leading space.
    """
    return tqdm.tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=what,
        mininterval=1 if sys.stderr.isatty() else 30,
        disable=silent,
        bar_format='{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt}, {rate_noinv_fmt}, '
        '{elapsed} done, {remaining} left',
    )


def in_whole_steps(bar: tqdm.tqdm) -> Callable[[float], None]:
    """Returns a function that advances a progress bar that shows whole numbers only.

    The function takes the amount to add, a float. Fractions add up until they reach a whole number.
    """
    reached = bar.n

    def move(amount: float) -> None:
        nonlocal reached
        reached += amount
        bar.update(int(reached + 1e-6) - bar.n)

    return move


def progress(batches: Iterable[np.ndarray], total: float, what: str) -> Iterator[np.ndarray]:
    """Passes on batches of images, and shows how many images have passed in a progress bar.

    Args:
      batches: batches of images, [n, H, W, C] each.
      total: number of images in all batches.
      what: label of the bar.

    Yields:
      The given batches, unchanged.
    """
    with progress_bar(total, what) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
