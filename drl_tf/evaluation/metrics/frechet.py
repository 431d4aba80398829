"""The Fréchet distance between two sets of features; with the features of Inception, this is FID."""

from typing import Any

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked_pair
from drl_tf.evaluation.metrics.moments import Moments


def frechet_distance(real: Any, fake: Any) -> float:
    """Computes the Fréchet distance between two sets of features, each taken as Gaussian.

    For sets with means m and m' and covariances C and C', the distance is

        |m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)).

    Small sets give too large distances on average, so compare only distances of sets of equal size.

    Args:
      real: features, float [N, d], N at least 2.
      fake: features, float [M, d], M at least 2.

    Returns:
      The distance, at least 0.

    Raises:
      UserError: the shapes do not fit together, or a feature is not finite.

    Examples:
      The second set is the first, shifted by 1 in each of 4 dimensions, so |m - m'|^2 = 4 and C = C':
      >>> real = np.random.default_rng(0).normal(size=[100, 4])
      >>> round(frechet_distance(real, real + 1), 3)
      4.0
    """
    mine, theirs = map(Moments.of, checked_pair(real, fake, at_least=2))
    return frechet_distance_from_moments(mine.mean, mine.covariance, theirs.mean, theirs.covariance)


def frechet_distance_from_moments(
    mean: Any, covariance: Any, other_mean: Any, other_covariance: Any
) -> float:
    """Computes the Fréchet distance between two Gaussians from their means and covariances.

    Gaussians with means m and m' and covariances C and C' have the distance

        |m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)).

    See Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    equation 6, https://arxiv.org/abs/1706.08500.

    Args:
      mean, other_mean: the means m and m', float [d].
      covariance, other_covariance: the covariances C and C', float [d, d], of any rank.

    Returns:
      The distance, at least 0.

    Raises:
      UserError: the shapes do not fit together, a value is not finite, or a covariance is not symmetric or
        has a negative eigenvalue.

    Examples:
      >>> round(frechet_distance_from_moments([0.0], [[1.0]], [3.0], [[4.0]]), 3)
      10.0
    """
    mean, covariance, other_mean, other_covariance = _checked_moments(
        mean, covariance, other_mean, other_covariance
    )
    traces = np.trace(covariance) + np.trace(other_covariance)
    cross = _trace_sqrt_product(covariance, other_covariance)
    return max(0.0, float(np.sum((mean - other_mean) ** 2) + traces - 2 * cross))


def _checked_moments(*moments: Any) -> list[np.ndarray]:
    """Returns both means and covariances in float64; raises UserError if they are no means or covariances."""
    arrays = [np.asarray(values, np.float64) for values in moments]
    d = arrays[0].size
    if [array.shape for array in arrays] != [(d,), (d, d), (d,), (d, d)]:
        shapes = ', '.join(str(list(array.shape)) for array in arrays)
        raise UserError(f'means and covariances must be of shapes [d], [d, d], [d] and [d, d], not {shapes}')
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(
            'means and covariances must be finite: look for NaN in the images or the weights of the extractor'
        )
    if not all(np.allclose(c, c.T, 1e-6, 1e-12 * np.abs(c).max(initial=0)) for c in arrays[1::2]):
        raise UserError('a covariance must be symmetric')
    return arrays


def _trace_sqrt_product(c: np.ndarray, other: np.ndarray) -> float:
    """Computes Tr (C C')^(1/2) by tensorflow-gan's function, within the ranges of C and of C'.

    The restriction to the ranges does not change the trace. It saves time if there are fewer samples than
    dimensions. It also drops directions that hold only rounding errors, which a square root would enlarge.
    """
    scales, basis = _range(c)
    other_scales, other_basis = _range(basis.T @ other @ basis)
    if not len(other_scales):
        return 0.0
    c = other_basis.T @ (scales[:, None] * other_basis)
    # tensorflow-gan drops values below 1e-10. We scale the largest value to 1e8, so that the values that it
    # drops are rounding errors.
    a = 1e4 / scales[-1]
    b = 1e4 / other_scales[-1]
    root = tfgan.evaluation().classifier_metrics.trace_sqrt_product(c * a, np.diag(other_scales * b))
    return float(root) / np.sqrt(a * b)


def _range(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the eigenvalues of C above rounding errors, ascending [r], and their eigenvectors [d, r]."""
    values, vectors = np.linalg.eigh(c)
    rounding = np.abs(values).max(initial=0) * len(c) * np.finfo(np.float64).eps
    if (values < -1e3 * rounding).any():
        raise UserError(f'a covariance must have no negative eigenvalue, not {values[0]:.3g}')
    kept = values > rounding
    return values[kept], vectors[:, kept]
