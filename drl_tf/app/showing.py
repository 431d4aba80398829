"""What the app shows: grids of images, maps, tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image

from drl_tf.runs import pictures
from drl_tf.runs.scores import Scores

_SIDE = 384  # Pixels: smaller sheets are enlarged.
_GAP = 2  # Pixels around each image.
_GAP_COLOUR = 128
_ATYPICAL = 3.0  # Standard deviations.
COLUMNS = ('picture', 'energy (nats)', 'gradient', 'bits/dim', 'log p (nats)', 'typicality')
_UNKNOWN = 'unknown'


def sheet(images: np.ndarray) -> Image.Image:
    """Arranges images in one picture, about as wide as high, enlarged if they are small.

    Points of the plane become a single picture of all points.

    Args:
      images: uint8 [n, H, W, C]; or points of the plane, float32 [n, 1, 1, 2].

    Returns:
      A picture of at least 384 pixels on its longer side.

    Examples:
      >>> sheet(np.zeros([4, 16, 16, 1], np.uint8)).size
      (388, 388)
    """
    cells = pictures.square(images)
    rows, columns, height, width, _ = cells.shape
    factor = max(1, -(-_SIDE // max(rows * height, columns * width)))
    cells = cells.repeat(factor, axis=2).repeat(factor, axis=3)
    gaps = ((0, 0), (0, 0), (_GAP // 2, _GAP // 2), (_GAP // 2, _GAP // 2), (0, 0))
    return pictures.to_pil(pictures.tile(np.pad(cells, gaps, constant_values=_GAP_COLOUR)))


def maps(images: np.ndarray, scores: Scores) -> Image.Image:
    """Arranges images in one picture, each beside a map that is bright where the image is unlikely.

    All maps have the same scale, from 0 to the largest value of any map.

    Args:
      images: uint8 [n, H, W, C].
      scores: the result of `EnergyModel.anomaly_scores` for these images; the maps are its `total_map`.

    Returns:
      The picture, in colours.
    """
    found = scores.total_map
    coloured = colormaps['magma'](found / max(float(found.max()), 1e-12), bytes=True)[..., :3]
    colours = np.broadcast_to(images, (*images.shape[:3], 3))
    return sheet(np.concatenate([colours, coloured], axis=2))


def table(names: Sequence[str], scores: Scores, typicality: np.ndarray | None) -> list[list[str]]:
    """Formats scores as a table.

    Args:
      names: name of each image.
      scores: the result of `EnergyModel.anomaly_scores` for these images.
      typicality: distance of each image's log density from the mean over training images, in standard
        deviations, float32 [n]; None: not known.

    Returns:
      A row of texts for each image: name; energy in nats; norm of the gradient over all noise levels; bits
      per dimension; log density in nats; typicality. Energy, bits and log density are those at
      `scores.scoring_level`. An unknown number is 'unknown'.
    """
    column = int(np.searchsorted(scores.levels, scores.scoring_level))
    rows = []
    for index, name in enumerate(names):
        numbers = [scores.energy[index, column], scores.total_gradient[index]]
        densities: list[np.ndarray | None] = [scores.bits_per_dim, scores.log_prob]
        cells = [f'{number:.4g}' for number in numbers]
        cells += [_UNKNOWN if each is None else f'{each[index, column]:.4g}' for each in densities]
        cells.append(_UNKNOWN if typicality is None else f'{typicality[index]:.3g}')
        rows.append([name, *cells])
    return rows


def verdict(names: Sequence[str], typicality: np.ndarray | None) -> str:
    """Returns sentences that count typical images and name the others, those with a typicality above 3.

    Args:
      names: name of each image.
      typicality: distance of each image's log density from the mean over training images, in standard
        deviations, float32 [n]. None: not known; a sentence about this is returned.

    Examples:
      >>> verdict(['a', 'b'], np.array([0.5, 9.0]))
      '1 of 2 pictures is typical of the training images. Atypical, by more than 3 deviations: b.'
    """
    if typicality is None:
        return 'The model has no log Z, so that only energies and gradients are known: see --mode=likelihood.'
    odd = [name for name, value in zip(names, typicality, strict=True) if value > _ATYPICAL]
    count = len(names) - len(odd)
    said = f'{count} of {len(names)} pictures {"is" if count == 1 else "are"} typical of the training images.'
    return f'{said} Atypical, by more than {_ATYPICAL:g} deviations: {", ".join(odd)}.' if odd else said
