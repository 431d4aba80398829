"""Mean and covariance of features that come in batches."""

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics.features import checked


class Moments:
    """Mean and unbiased covariance in one pass, in float64, whatever the batches.

    Sets of n and n' features with means m and m' merge as S + S' + (m - m')(m - m')^T n n' / (n + n'), S
    being the sum of the outer products of what differs from the mean: nothing large is subtracted from
    something large. See Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979, equation 2.1.

    Args:
      dimensions: d, int.

    Attributes:
      count: how many features there were, int.
      mean: m, float64 [d]; zeros where there were none.
      scatter: S, float64 [d, d].
    """

    def __init__(self, dimensions):
        self.count = 0
        self.mean = np.zeros(dimensions)
        self.scatter = np.zeros([dimensions, dimensions])

    @classmethod
    def of(cls, features):
        """The moments of all features at once, float [n, d]; raises UserError as `update`."""
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    def update(self, features):
        """Takes in features, float [n, d].

        Raises:
          UserError: they are of another shape or not finite; the moments are then what they were.
        """
        features = checked(features).astype(np.float64)
        batch = Moments(features.shape[1])
        if len(features):
            batch.count, batch.mean = len(features), features.mean(axis=0)
            features -= batch.mean
            batch.scatter = features.T @ features
        self.merge(batch)

    def merge(self, other):
        """Takes in what another `Moments` of the same dimensions has seen.

        Raises:
          UserError: the dimensions differ.
        """
        if other.mean.shape != self.mean.shape:
            raise UserError(
                f'features of {len(other.mean)} dimensions do not go with those of {len(self.mean)}'
            )
        count = self.count + other.count
        if not other.count:
            return
        shift = other.mean - self.mean
        self.scatter += other.scatter + np.outer(shift, shift) * (self.count * other.count / count)
        self.mean = self.mean + shift * (other.count / count)
        self.count = count

    @property
    def covariance(self):
        """Unbiased, float64 [d, d].

        Raises:
          UserError: there were fewer than 2 features.
        """
        if self.count < 2:
            raise UserError(f'{self.count} images have no covariance: at least 2 are needed')
        return self.scatter / (self.count - 1)
