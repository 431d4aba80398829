"""Computes mean and covariance of features that come in batches."""

from __future__ import annotations

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics.features import checked


class Moments:
    """Accumulates mean and unbiased covariance of features over batches, in float64.

    The scatter S of n features with mean m is the sum of (x - m)(x - m)^T over the features x. If another n'
    features have mean m' and scatter S', all n + n' features have the scatter

        S + S' + (m - m')(m - m')^T n n' / (n + n').

    This update is numerically stable. See Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
    Algorithm for Computing Sample Variances", 1979, equation 2.1.

    Args:
      dimensions: d, the length of a feature vector.

    Attributes:
      count: number n of feature vectors so far.
      mean: their mean m, float64 [d]; zeros at first.
      scatter: their scatter S, float64 [d, d].

    Example:
      moments = Moments(64)
      for batch in batches:  # float [n, 64]
        moments.update(batch)
      moments.covariance
    """

    def __init__(self, dimensions: int):
        self.count = 0
        self.mean = np.zeros(dimensions)
        self.scatter = np.zeros([dimensions, dimensions])

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Returns the moments of features, float [n, d]; raises UserError if a feature is not finite."""
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    def update(self, features: np.ndarray) -> None:
        """Adds a batch of features, float [n, d].

        Raises:
          UserError: the features have another shape or are not finite; the moments are then unchanged.
        """
        features = checked(features).astype(np.float64)
        batch = Moments(features.shape[1])
        if len(features):
            batch.count = len(features)
            batch.mean = features.mean(axis=0)
            features -= batch.mean
            batch.scatter = features.T @ features
        self.merge(batch)

    def merge(self, other: Moments) -> None:
        """Adds the features that another `Moments` has accumulated; `other` stays as it is.

        Raises:
          UserError: the dimensions differ.
        """
        if other.mean.shape != self.mean.shape:
            raise UserError(
                f'features of {len(other.mean)} dimensions cannot be merged with those of {len(self.mean)}'
            )
        count = self.count + other.count
        if not other.count:
            return
        shift = other.mean - self.mean
        self.scatter += other.scatter + np.outer(shift, shift) * (self.count * other.count / count)
        self.mean = self.mean + shift * (other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance of the features so far, float64 [d, d].

        Raises:
          UserError: there are fewer than 2 features.
        """
        if self.count < 2:
            raise UserError(f'{self.count} images have no covariance: at least 2 are needed')
        return self.scatter / (self.count - 1)
