"""What every score asks of the features it is given."""

import numpy as np

from drl_tf.base.errors import UserError


def checked(features, what='features'):
    """The features as a numpy array [N, d] of their own dtype.

    Raises:
      UserError: they are not [N, d] with d at least 1, or not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1] or not np.issubdtype(features.dtype, np.floating):
        raise UserError(f'{what} must be float [N, d], not {features.dtype} {list(features.shape)}')
    if not np.isfinite(features).all():
        raise UserError(f'{what} must be finite: look for NaN in the images or the weights of the extractor')
    return features


def checked_pair(real, fake, at_least):
    """The features of real and of generated images as numpy arrays [N, d] and [M, d].

    Raises:
      UserError: as `checked`; or the two differ in d, or N or M is below `at_least`.
    """
    real, fake = checked(real, 'features of real images'), checked(fake, 'features of generated images')
    if real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < at_least:
        raise UserError(
            f'features of shapes {list(real.shape)} and {list(fake.shape)} must be [N, d] and [M, d] of one '
            f'd, N and M at least {at_least}'
        )
    return real, fake
