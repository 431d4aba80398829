"""What the user is shown: grids of images and of trajectories, curves, and how far work has come."""

import math
import sys

import numpy as np
import tqdm
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from drl_tf.base import pixels
from drl_tf.base.files import written_aside
from drl_tf.data import plane

HEADER = 16
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
    """All images in rows, about as many as columns, black behind the last: uint8 [n, H, W, C] -> [rows,
    columns, H, W, C].

    Points, float32 [n, 1, 1, 2], are one cell, their `cloud`.
    """
    if _are_points(images):
        return cloud(images)[None, None]
    return _in_rows(images, math.isqrt(len(images)))


def _in_rows(images, columns):
    rows = -(-len(images) // columns)
    missing = np.zeros((rows * columns - len(images), *images.shape[1:]), np.uint8)
    return np.concatenate([images, missing]).reshape(rows, columns, *images.shape[1:])


def grid(images, num_classes=0):
    """As `square`; of at most 16 classes that take turns, a row of up to 10 images for each."""
    if not 0 < num_classes <= _MOST_ROWS:
        return square(images)
    return _in_rows(images[: _CLASS_COLUMNS * num_classes], num_classes).swapaxes(0, 1)


def tile(cells):
    """One picture of a grid of images: uint8 [rows, columns, H, W, C] -> [rows * H, columns * W, C]."""
    rows, columns, height, width, channels = cells.shape
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def save_png(path, cells, header=()):
    """Writes a grid as PNG, aside and renamed; small pictures are enlarged by whole pixels.

    Args:
      path: the file.
      cells: uint8 [rows, columns, H, W, C].
      header: what stands above each column in a line of `HEADER` pixels; empty for no such line.
    """
    picture = tile(cells)
    scale = max(1, -(-_SMALLEST_SIDE // max(picture.shape[:2])))
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    picture = np.pad(picture, ((HEADER if header else 0, 0), (0, 0), (0, 0)))
    picture = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    draw, width = ImageDraw.Draw(picture), picture.width / cells.shape[1]
    for column, label in enumerate(header):
        draw.text(((column + 0.5) * width - draw.textlength(label) / 2, 2), label, fill='white')
    with written_aside(path, 'wb') as file:
        picture.save(file, format='png')


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
    """A bar of images or of another unit; on a terminal it moves every second, in a log there is a line every
    half minute."""
    interval = 1 if sys.stderr.isatty() else 30
    return tqdm.tqdm(total=total, initial=done, unit=unit, desc=what, mininterval=interval, disable=silent)


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
