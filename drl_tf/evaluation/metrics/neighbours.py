"""Precision, recall, density and coverage: how the nearest neighbours of real and of generated features lie
to each other."""

import numpy as np

from drl_tf.evaluation.metrics.features import checked_pair

ROWS, COLUMNS = 1024, 4096


def neighbour_scores(real, fake, k=3, density_k=5):
    """How much of the generated images is real-like (precision, density) and of the real ones is generated
    (recall, coverage).

    With r_k(x) the distance of x to its k-th nearest neighbour in its own set, itself excluded:

      precision = share of y with |x - y| <= r_k(x) for some x        recall = share of x with |x - y| <=
      r_k(y) for some y density = mean over y of #{x: |x - y| < r_k(x)} / k             coverage = share of x
      with |x - y| < r_k(x) for some y

    where x is real and y generated. Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall
    Metric for Assessing Generative Models", https://arxiv.org/abs/1904.06991, equations 1 and 2. Density and
    coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models",
    https://arxiv.org/abs/2002.09797, equations 3 and 5. All depend on N and M: compare only scores of equally
    large sets. Time grows with (N + M)^2 d; distances are float64 and are computed in blocks of up to 200 MB.

    Args:
      real: features x, float [N, d].
      fake: features y, float [M, d].
      k: of precision and recall, int.
      density_k: of density and coverage, int.

    Returns:
      dict of the floats 'precision', 'recall', 'density' and 'coverage', in [0, 1] but for density, which can
      exceed 1.

    Raises:
      UserError: the shapes do not go together, a feature is not finite, or a set has no more features than k
        or density_k.
    """
    real, fake = checked_pair(real, fake, at_least=max(k, density_k) + 1)
    centre = real.mean(axis=0, dtype=np.float64)
    nearest = _nearest(real, centre, max(k, density_k))
    real_radii, density_radii = nearest[:, k - 1], nearest[:, density_k - 1]
    fake_radii = _nearest(fake, centre, k)[:, k - 1]
    precise, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    inside, covered = 0, np.zeros(len(real), bool)
    for rows, columns, distances in _tiles(real, fake, centre):
        precise[columns] |= (distances <= real_radii[rows, None]).any(axis=0)
        recalled[rows] |= (distances <= fake_radii[columns]).any(axis=1)
        within = distances < density_radii[rows, None]
        inside += np.count_nonzero(within)
        covered[rows] |= within.any(axis=1)
    return {
        'precision': float(precise.mean()),
        'recall': float(recalled.mean()),
        'density': float(inside / (density_k * len(fake))),
        'coverage': float(covered.mean()),
    }


def _nearest(features, centre, k):
    """Squared distances to the k nearest others, ascending, float64 [N, k]."""
    nearest = np.full([len(features), k], np.inf)
    for rows, columns, distances in _tiles(features, features, centre):
        own = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        distances[own - rows.start, own - columns.start] = np.inf
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.sort(np.partition(candidates, k - 1, axis=1)[:, :k], axis=1)
    return nearest


def _tiles(first, second, centre):
    """Yields a slice of `first`, one of `second`, and the squared distances between the two, float64 [rows,
    columns].

    The features are taken from their centre before they are multiplied, lest the difference of large numbers
    be lost.
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
