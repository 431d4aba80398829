"""Draws the pictures of --mode=score: a histogram, a contact sheet, and maps of unlikely pixels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from drl_tf.runs import charts, pictures
from drl_tf.runs.scores import Scores

ROWS = 8  # Number of images in the panel of maps.
_SHEET = 100  # Largest number of images in the contact sheet.
_COLUMNS = 10
_BINS = 50
_MOST_LEVELS = 6  # Largest number of levels in the panel of maps.
_COLOURS = 'magma'
_BRIGHT = 0.999


def histogram(path: str, sets: Mapping[str, np.ndarray]) -> None:
    """Draws histograms of the log densities (minus the energies) of several sets of images.

    The axis spans at least the middle 98 % of each set. Values beyond count in the first or the last bin.

    Args:
      path: the PNG file.
      sets: {name: energies in nats, float [n]}.
    """
    values = {name: -np.asarray(energies, np.float64) for name, energies in sets.items()}
    low = min(np.quantile(each, 0.01) for each in values.values())
    high = max(np.quantile(each, 0.99) for each in values.values())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    figure = Figure(figsize=(6, 3.5), layout='constrained')
    axes = figure.subplots()
    for name, each in values.items():
        clipped = np.clip(each, edges[0], edges[-1])
        share = np.full(len(each), 1 / len(each))
        axes.hist(clipped, edges.tolist(), weights=share, alpha=0.6, label=f'{name} ({len(each):,})')
    axes.set(xlabel='log p at the scoring level, in nats, up to a constant', ylabel='share of the images')
    axes.legend()
    charts.save(path, figure)


def sheet(path: str, images: np.ndarray, log_prob: np.ndarray) -> None:
    """Draws a contact sheet, from the most typical image to the most anomalous.

    Args:
      path: the PNG file.
      images: from typical to anomalous, uint8 [n, H, W, C]. At most 100 are shown: the first, the last, and
        evenly spaced images between.
      log_prob: the log density of each of the n images, float [n]; it is printed above the image.
    """
    count = min(_SHEET, len(images))
    kept = np.linspace(0, len(images) - 1, count).round().astype(int)
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    cells = np.zeros([rows * columns, *images.shape[1:]], np.uint8)
    cells[:count] = images[kept]
    texts = [f'{value:.0f}' for value in log_prob[kept]] + [''] * (rows * columns - count)
    captions = [texts[first : first + columns] for first in range(0, len(texts), columns)]
    pictures.save_png(path, cells.reshape(rows, columns, *images.shape[1:]), captions=captions)


def panel(path: str, images: np.ndarray, scores: Scores, names: Sequence[str]) -> None:
    """Draws a row for each image: the image, and maps of its unlikely pixels.

    The first map combines all noise levels. Each further map shows a single level.

    Args:
      path: the PNG file.
      images: uint8 [n, H, W, C].
      scores: the result of `EnergyModel.anomaly_scores` for these images; the maps are its `total_map` and
        its `maps`, of which at most six noise levels are shown.
      names: a name for each image.
    """
    kept = np.unique(np.linspace(0, len(scores.levels) - 1, _MOST_LEVELS).round().astype(int))
    titles = ['image', 'all levels', *(f'level {scores.levels[index]}' for index in kept)]
    maps = np.concatenate([scores.total_map[:, None], scores.maps[:, kept]], axis=1)
    brightest = float(np.median(maps.max(axis=(1, 2, 3)))) or 1.0  # One odd image must not darken the others.
    figure = Figure(figsize=(1.2 * len(titles) + 0.8, 1.25 * len(images) + 0.3), layout='constrained')
    axes = figure.subplots(len(images), len(titles), squeeze=False)
    for row, name in enumerate(names):
        picture = images[row, ..., 0] if images.shape[-1] == 1 else images[row]
        axes[row, 0].imshow(picture, cmap='gray', vmin=0, vmax=255)
        axes[row, 0].set_ylabel(os.path.basename(name)[-18:], fontsize=7, parse_math=False)
        for column in range(maps.shape[1]):
            drawn = axes[row, column + 1].imshow(maps[row, column], cmap=_COLOURS, vmin=0, vmax=brightest)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    figure.colorbar(drawn, ax=axes, label='standard deviations of the noise', extend='max', shrink=0.8)
    charts.save(path, figure)


def save_maps(directory: str, maps: np.ndarray) -> None:
    """Writes maps of unlikely pixels, each to a file such as `000123.png`, with one colour scale.

    Args:
      directory: the directory; what it holds, such as maps of an earlier call, is removed first.
      maps: one map per image, float32 [n, H, W].
    """
    colours = matplotlib.colormaps[_COLOURS]
    largest = np.quantile(maps, _BRIGHT) or 1.0
    shutil.rmtree(directory, ignore_errors=True)
    pictures.save_each(
        directory, ((255 * colours(one / largest)[None, ..., :3]).astype(np.uint8) for one in maps)
    )
