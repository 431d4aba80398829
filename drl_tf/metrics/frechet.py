"""The Fréchet distance between the Gaussians that two sets of features are taken for."""

import numpy as np

from drl_tf.errors import UserError
from drl_tf.metrics import tfgan


def frechet_distance(real, fake):
    """|m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)) of the sample means and unbiased covariances, in float64.

    Biased upwards, the more so the fewer the samples: compare only distances of equally large sets. See Heusel et al., "GANs
    Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", https://arxiv.org/abs/1706.08500.

    Args:
      real: features, float [N, d], N at least 2.
      fake: features, float [M, d], M at least 2.

    Returns:
      The distance, a float of at least 0 up to rounding.

    Raises:
      UserError: the shapes do not go together, or a feature is not finite.
    """
    real, fake = (np.asarray(features, np.float64) for features in (real, fake))
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < 2:
        raise UserError(f'features of shapes {real.shape} and {fake.shape} must be [N, d] and [M, d], N and M at least 2')
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise UserError('features must be finite: look for NaN in the images or the weights of the extractor')
    return float(tfgan.evaluation().frechet_classifier_distance_from_activations(real, fake))
