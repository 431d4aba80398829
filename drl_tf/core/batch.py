"""Part of a training batch, with the noise levels and the noise of its images."""

import dataclasses

import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.guidance import Terms
from drl_tf.core.noise import Seed


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive images of one training step.

    Attributes:
      images: float32 [B, H, W, C] in [-1, 1].
      level: t of each image, int32 [B]; if levels are continuous, the nearest one.
      labels: classes from 1, or 0 for no class, int32 [B]; None if the model has no classes.
      seed: seed of the step, int32 [2].
      first: index of the first image in the global batch.
      angle: noise level of each image as in `Schedule.angle`, float32 [B]; None if no loss needs it.
    """

    images: tf.Tensor
    level: tf.Tensor
    labels: tf.Tensor | None
    seed: Seed
    first: int | tf.Tensor
    angle: tf.Tensor | None = None

    def noise(self, *purpose: int) -> tf.Tensor:
        """Draws standard normal noise for a purpose, float32 [B, H, W, C]; see `noise.fold`."""
        return noise.normal(noise.fold(self.seed, *purpose), tf.shape(self.images), self.first)

    @property
    def terms(self) -> Terms:
        """Guidance terms: each image under its own class."""
        return ((self.labels, 1.0),)
