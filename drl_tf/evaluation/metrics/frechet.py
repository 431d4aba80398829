"""The Fréchet distance between the Gaussians that two sets of features are taken for."""

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked_pair
from drl_tf.evaluation.metrics.moments import Moments


def frechet_distance(real, fake):
    """The Fréchet distance of the sample means and unbiased covariances; see `frechet_distance_from_moments`.

    Biased upwards, the more so the fewer the samples: compare only distances of equally large sets.

    Args:
      real: features, float [N, d], N at least 2.
      fake: features, float [M, d], M at least 2.

    Returns:
      The distance, a float of at least 0.

    Raises:
      UserError: the shapes do not go together, or a feature is not finite.
    """
    moments = map(Moments.of, checked_pair(real, fake, at_least=2))
    return frechet_distance_from_moments(
        *(value for each in moments for value in (each.mean, each.covariance))
    )


def frechet_distance_from_moments(mean, covariance, other_mean, other_covariance):
    """|m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)), in float64.

    See Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    equation 6, https://arxiv.org/abs/1706.08500.

    Args:
      mean, other_mean: m and m', float [d].
      covariance, other_covariance: C and C', float [d, d], of any rank.

    Returns:
      The distance, a float of at least 0.

    Raises:
      UserError: the shapes do not go together, a value is not finite, or a covariance is not symmetric or has
        a negative eigenvalue.
    """
    mean, covariance, other_mean, other_covariance = _checked_moments(
        mean, covariance, other_mean, other_covariance
    )
    traces = np.trace(covariance) + np.trace(other_covariance)
    return max(
        0.0,
        float(
            np.sum((mean - other_mean) ** 2) + traces - 2 * _trace_sqrt_product(covariance, other_covariance)
        ),
    )


def _checked_moments(*moments):
    """Both means and covariances in float64; raises UserError where they cannot be that."""
    moments = [np.asarray(values, np.float64) for values in moments]
    d = moments[0].size
    if [values.shape for values in moments] != [(d,), (d, d)] * 2:
        shapes = ', '.join(str(list(values.shape)) for values in moments)
        raise UserError(f'means and covariances must be of shapes [d], [d, d], [d] and [d, d], not {shapes}')
    if not all(np.isfinite(values).all() for values in moments):
        raise UserError(
            'means and covariances must be finite: look for NaN in the images or the weights of the extractor'
        )
    if not all(np.allclose(c, c.T, 1e-6, 1e-12 * np.abs(c).max(initial=0)) for c in moments[1::2]):
        raise UserError('a covariance must be symmetric')
    return moments


def _trace_sqrt_product(c, other):
    """Tr (C C')^(1/2), by tensorflow-gan's function within the range of C and there within that of C'.

    The trace is the same there, fewer samples than dimensions cost less, and directions that hold nothing but
    rounding errors, of which a square root makes much, are left out.
    """
    scales, basis = _range(c)
    other_scales, other_basis = _range(basis.T @ other @ basis)
    if not len(other_scales):
        return 0.0
    c = other_basis.T @ (scales[:, None] * other_basis)
    # tensorflow-gan takes no root of values below 1e-10: where the largest are 1e8, that is less than
    # rounding errors.
    a, b = 1e4 / scales[-1], 1e4 / other_scales[-1]
    root = tfgan.evaluation().classifier_metrics.trace_sqrt_product(c * a, np.diag(other_scales * b))
    return float(root) / np.sqrt(a * b)


def _range(c):
    """Eigenvalues of C beyond rounding, ascending [r], and their eigenvectors [d, r]."""
    values, vectors = np.linalg.eigh(c)
    rounding = np.abs(values).max(initial=0) * len(c) * np.finfo(np.float64).eps
    if (values < -1e3 * rounding).any():
        raise UserError(f'a covariance must have no negative eigenvalue, not {values[0]:.3g}')
    kept = values > rounding
    return values[kept], vectors[:, kept]
