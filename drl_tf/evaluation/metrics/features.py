"""Checks the features from which scores are computed."""

from typing import Any

import numpy as np

from drl_tf.base.errors import UserError


def checked(features: Any, what: str = 'features') -> np.ndarray:
    """Checks features, and returns them as a NumPy array [N, d] of the same dtype.

    Args:
      features: array-like.
      what: name of the features in the error message.

    Raises:
      UserError: the features are not float [N, d] with d at least 1, or not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1] or not np.issubdtype(features.dtype, np.floating):
        raise UserError(f'{what} must be float [N, d], not {features.dtype} {list(features.shape)}')
    if not np.isfinite(features).all():
        raise UserError(f'{what} must be finite: look for NaN in the images or the weights of the extractor')
    return features


def checked_pair(real: Any, fake: Any, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """Checks features of real and of generated images, and returns them as arrays [N, d] and [M, d].

    Args:
      real: array-like, float [N, d].
      fake: array-like, float [M, d].
      at_least: smallest allowed N and M.

    Raises:
      UserError: a set has a wrong shape or type, or is not finite; the sets differ in d; or N or M is too
        small.
    """
    real = checked(real, 'features of real images')
    fake = checked(fake, 'features of generated images')
    if real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < at_least:
        raise UserError(
            f'features of shapes {list(real.shape)} and {list(fake.shape)} must be [N, d] and [M, d] with '
            f'the same d, and N and M at least {at_least}'
        )
    return real, fake
