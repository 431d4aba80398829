"""What the user is shown: grids of images and of trajectories, curves, and how far work has come."""

import itertools
import math
import os
import sys

import numpy as np
import tqdm
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from drl_tf.base import pixels
from drl_tf.base.files import written_aside
from drl_tf.data import plane

HEADER = 16
_SIDE = 24
_SMALLEST_SIDE = 512
_MOST_ROWS = 16
_CLASS_COLUMNS = 10
_CLOUD_SIDE, _CLOUD_EDGE = 128, 1.5


def kept(images):
    """Images in [-1, 1], float32 [n, H, W, C], as files hold them: uint8; points of the plane stay floats."""
    return np.asarray(images) if _are_points(images) else pixels.to_uint8(images)


def _are_points(images):
    return tuple(images.shape[1:]) == plane.IMAGE_SHAPE


def cloud(points):
    """A picture of points of the plane, [-1.5, 1.5] squared, brighter where more of them are.

    Args:
      points: float32 [n, 1, 1, 2].

    Returns:
      uint8 [128, 128, 1].
    """
    x, y = np.asarray(points).reshape(-1, 2).T
    bounds = [[-_CLOUD_EDGE, _CLOUD_EDGE]] * 2
    counts = np.histogram2d(-y, x, _CLOUD_SIDE, bounds)[0]
    return np.round(255 * np.sqrt(counts / max(counts.max(), 1))).astype(np.uint8)[..., None]


def square(images):
    """All images in rows, about as many as columns, black behind the last.

    Args:
      images: [n, H, W, C]; points, float32 [n, 1, 1, 2], are one cell, their `cloud`.

    Returns:
      [rows, columns, H, W, C].
    """
    if _are_points(images):
        return cloud(images)[None, None]
    root = math.ceil(math.sqrt(len(images)))
    fitting = [columns for columns in range(root, 2 * root) if len(images) % columns == 0]
    return _in_rows(images, fitting[0] if fitting else root)


def _in_rows(images, columns):
    rows = -(-len(images) // columns)
    missing = np.zeros((rows * columns - len(images), *images.shape[1:]), images.dtype)
    return np.concatenate([images, missing]).reshape(rows, columns, *images.shape[1:])


def grid(images, num_classes=0):
    """As `square`; a row of up to 10 images for each of at most 16 classes that take turns."""
    if not 0 < num_classes <= _MOST_ROWS or len(images) < 2 * num_classes:
        return square(images)
    return _in_rows(images[: _CLASS_COLUMNS * num_classes], num_classes).swapaxes(0, 1)


def class_captions(classes, num_classes=0):
    """The class of each cell of `grid`, for `save_png`.

    Args:
      classes: of the images, from 0, int [n].
      num_classes: as in `grid`.

    Returns:
      {'side': texts} where a row has one class, {'captions': rows of texts} elsewhere.
    """
    cells = grid(np.reshape(classes, [-1, 1, 1, 1]) + 1, num_classes)[..., 0, 0, 0]
    texts = [[str(label - 1) if label else '' for label in row] for row in cells]
    if all(len({label for label in row if label}) == 1 for row in cells):
        return {'side': [row[0] for row in texts]}
    return {'captions': texts}


def turn_captions(count, num_classes):
    """As `class_captions`, of images whose classes take turns; {} without classes."""
    return class_captions(np.arange(count) % num_classes, num_classes) if num_classes else {}


def tile(cells):
    """One picture of a grid of images: uint8 [rows, columns, H, W, C] -> [rows * H, columns * W, C]."""
    rows, columns, height, width, channels = cells.shape
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def save_png(path, cells, header=(), side=(), captions=()):
    """Writes a grid as PNG, aside and renamed; small pictures are enlarged by whole pixels.

    Args:
      path: the file.
      cells: uint8 [rows, columns, H, W, C].
      header: a text above each column; empty for none. Lines of text are `HEADER` pixels high.
      side: a text left of each row; empty for none.
      captions: for each row a text above each of its cells; empty for none.
    """
    rows, columns, height, width, _ = cells.shape
    scale = max(1, -(-_SMALLEST_SIDE // max(rows * height, columns * width)))
    cells = cells.repeat(scale, axis=2).repeat(scale, axis=3)
    above = HEADER if captions else 0
    picture = tile(np.pad(cells, ((0, 0), (0, 0), (above, 0), (0, 0), (0, 0))))
    left = _SIDE if side else 0
    top = HEADER if header else 0
    picture = np.pad(picture, ((top, 0), (left, 0), (0, 0)))
    picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    draw = ImageDraw.Draw(picture)

    def write(text, row, column):
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
        picture.save(file, format='png')


def save_each(directory, batches, first=0):
    """Writes each image as `<index>.png`, six digits or more, into a directory.

    Args:
      directory: made where need be.
      batches: iterable of uint8 [n, H, W, C].
      first: index of the first image.
    """
    os.makedirs(directory, exist_ok=True)
    for index, image in enumerate(itertools.chain.from_iterable(batches), first):
        save_image(os.path.join(directory, f'{index:06d}.png'), image)


def save_image(path, image):
    """Writes one image, uint8 [H, W, C] of 1 or 3 channels, as PNG, aside and renamed."""
    with written_aside(path, 'wb') as file:
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, format='png')


def save_curves(path, axis, x, curves):
    """Plots curves over a common axis into a PNG.

    Args:
      path: the file.
      axis: what x is.
      x: positions, a list of numbers.
      curves: {label: list of numbers as long as x}.
    """
    figure = Figure(figsize=(5, 3.5), layout='constrained')
    axes = figure.subplots()
    for label, values in curves.items():
        axes.plot(x, values, marker='o', label=label)
    axes.set(xlabel=axis, ylim=(0, None))
    axes.legend()
    with written_aside(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=120)


def save_bars(path, axis, bars, floor=None):
    """Draws a bar for each of some numbers into a PNG.

    Args:
      path: the file.
      axis: what the numbers are.
      bars: {label: number}, from the top down; None for no bar beside the label.
      floor: a number to compare with, a dashed line; None for none.
    """
    figure = Figure(figsize=(6, 0.8 + 0.3 * len(bars)), layout='constrained')
    axes, lengths = figure.subplots(), [number or 0 for number in bars.values()]
    drawn = axes.barh(list(bars), lengths)
    axes.bar_label(drawn, ['' if number is None else f'{number:.3g}' for number in bars.values()], padding=3)
    if floor is not None:
        axes.axvline(floor, linestyle='--', color='black', label='floor')
        axes.legend()
    axes.set(xlabel=axis, xlim=(0, 1.15 * max(lengths)))
    axes.invert_yaxis()
    with written_aside(path, 'wb') as file:
        figure.savefig(file, format='png', dpi=120)


def trajectory(states, count):
    """A row per image and a column per noise level, from x_T to x_0.

    Args:
      states: [x_T, ..., x_0], each float32 [n, H, W, C] in [-1, 1].
      count: rows; points are all in one.

    Returns:
      uint8 [count, T + 1, H, W, C].
    """
    if _are_points(states[0]):
        return np.stack([cloud(state) for state in states])[None]
    return np.stack([pixels.to_uint8(state[:count]) for state in states], axis=1)


def progress_bar(total, what, done=0, silent=False, unit=' images'):
    """A bar of images or of another unit, with its rate a second.

    On a terminal it moves every second, in a log there is a line every half minute.
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


def in_whole_steps(bar):
    """A function that moves a bar by fractions, which it shows rounded down."""
    reached = bar.n

    def move(amount):
        nonlocal reached
        reached += amount
        bar.update(int(reached + 1e-6) - bar.n)

    return move


def progress(batches, total, what):
    """Yields batches of images, and shows how many of them were taken."""
    with progress_bar(total, what) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
