"""Precision, recall, density and coverage of generated images, from nearest neighbours of features."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from drl_tf.evaluation.metrics.features import checked_pair

# Distances are computed in blocks of this size.
ROWS = 1024
COLUMNS = 4096


def neighbour_scores(real: Any, fake: Any, k: int = 3, density_k: int = 5) -> dict[str, float]:
    """Computes precision and density (realism), and recall and coverage (variety), of generated images.

    x are the features of real images, and y those of generated images. r_k(x) is the distance of x to its
    k-th nearest neighbour among the features of real images. r_k(y) is the distance of y to its k-th nearest
    neighbour among the features of generated images. #{..} is the number of elements of a set. Then

      precision = share of y with |x - y| <= r_k(x) for some x
      recall = share of x with |x - y| <= r_k(y) for some y
      density = mean over y of #{x: |x - y| < r_k(x)} / k
      coverage = share of x with |x - y| < r_k(x) for some y

    All four scores depend on the numbers of images: compare only sets of equal size.

    Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative
    Models", https://arxiv.org/abs/1904.06991, equations 1 and 2. Density and coverage: Naeem et al.,
    "Reliable Fidelity and Diversity Metrics for Generative Models", https://arxiv.org/abs/2002.09797,
    equations 3 and 5.

    Args:
      real: features x, float [N, d].
      fake: features y, float [M, d].
      k: the k in the formulas of precision and recall: r_k is the distance of the k-th nearest neighbour.
      density_k: the k in the formulas of density and coverage.

    Returns:
      {'precision': .., 'recall': .., 'density': .., 'coverage': ..}, floats in [0, 1]; density can exceed 1.

    Raises:
      UserError: the shapes do not fit together, a feature is not finite, or N or M is at most
        max(k, density_k).

    Examples:
      >>> real = np.random.default_rng(0).normal(size=[100, 4])
      >>> neighbour_scores(real, real)
      {'precision': 1.0, 'recall': 1.0, 'density': 1.0, 'coverage': 1.0}
    """
    real, fake = checked_pair(real, fake, at_least=max(k, density_k) + 1)
    centre = real.mean(axis=0, dtype=np.float64)
    nearest = _nearest(real, centre, max(k, density_k))
    real_radii = nearest[:, k - 1]
    density_radii = nearest[:, density_k - 1]
    fake_radii = _nearest(fake, centre, k)[:, k - 1]
    precise = np.zeros(len(fake), bool)
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    inside = 0
    for rows, columns, distances in _tiles(real, fake, centre):
        precise[columns] |= (distances <= real_radii[rows, None]).any(axis=0)
        recalled[rows] |= (distances <= fake_radii[columns]).any(axis=1)
        within = distances < density_radii[rows, None]
        inside += int(np.count_nonzero(within))
        covered[rows] |= within.any(axis=1)
    return {
        'precision': float(precise.mean()),
        'recall': float(recalled.mean()),
        'density': float(inside / (density_k * len(fake))),
        'coverage': float(covered.mean()),
    }


def _nearest(features: np.ndarray, centre: np.ndarray, k: int) -> np.ndarray:
    """Returns the squared distances of each feature to the k nearest others, ascending, float64 [N, k]."""
    nearest = np.full([len(features), k], np.inf)
    for rows, columns, distances in _tiles(features, features, centre):
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        distances[own - rows.start, own - columns.start] = np.inf
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.sort(np.partition(candidates, k - 1, axis=1)[:, :k], axis=1)
    return nearest


def _tiles(
    first: np.ndarray, second: np.ndarray, centre: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yields (slice of `first`, slice of `second`, squared distances, float64 [rows, columns]).

    The features are centred first, because x.x - 2 x.y + y.y of large numbers would cancel.
    """
    for start in range(0, len(second), COLUMNS):
        columns = slice(start, min(start + COLUMNS, len(second)))
        y = second[columns] - centre
        y_squares = np.einsum('nd,nd->n', y, y)
        for start_row in range(0, len(first), ROWS):
            rows = slice(start_row, min(start_row + ROWS, len(first)))
            x = first[rows] - centre
            distances = x @ y.T
            distances *= -2
            distances += np.einsum('nd,nd->n', x, x)[:, None]
            distances += y_squares
            yield rows, columns, np.maximum(distances, 0, out=distances)
