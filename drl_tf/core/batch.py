"""A part of a training batch: images, their noise levels and their noise."""

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
      level: t of each image, int32 [B]; with continuous levels, the t nearest to `angle`.
      labels: class + 1 of each image, or 0 for no class, int32 [B]; None if the model has no classes.
      seed: random seed of the training step, int32 [2].
      first: index of `images[0]` in the batch of all replicas together.
      angle: noise level of each image as an angle, float32 [B]: an image x becomes cos(angle) x + sin(angle)
        noise. None if no loss needs the angles.
    """

    images: tf.Tensor
    level: tf.Tensor
    labels: tf.Tensor | None
    seed: Seed
    first: int | tf.Tensor
    angle: tf.Tensor | None = None

    def noise(self, *purpose: int) -> tf.Tensor:
        """Draws standard normal noise, float32 [B, H, W, C], from `seed` and the integers `purpose`.

        Other integers give independent noise. Image i gets the same noise however the batch is split.
        """
        return noise.normal(noise.fold(self.seed, *purpose), tf.shape(self.images), self.first)

    @property
    def terms(self) -> Terms:
        """The labels with weight 1, in the form ((labels, 1.0),) that `EnergyModel.density_at` takes."""
        return ((self.labels, 1.0),)
