"""A part of a training batch: images, their noise levels and their noise."""

import dataclasses

import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.guidance import Terms
from drl_tf.core.noise import Seed


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive images of one training step, with their noise levels and random seed.

    Attributes:
      images: clean images, float32 [B, H, W, C] in [-1, 1].
      level: index t of each image's noise level, 0 to T - 1, or 0 to T for score matching, int32 [B]. With
        continuous noise levels, t is the index of the level nearest to `angle`.
      labels: class + 1 of each image, or 0 for no class, int32 [B]; None if the model has no classes.
      seed: random seed of the training step, int32 [2].
      first: index of `images[0]` in the batch of all replicas together.
      angle: exact noise level of each image in radians, float32 [B]: a clean image x becomes cos(angle) x +
        sin(angle) noise. None if no loss needs the angles.
    """

    images: tf.Tensor
    level: tf.Tensor
    labels: tf.Tensor | None
    seed: Seed
    first: int | tf.Tensor
    angle: tf.Tensor | None = None

    def noise(self, *purpose: int) -> tf.Tensor:
        """Draws standard normal noise, float32 [B, H, W, C], one draw for each image of the batch.

        The noise of an image depends on three things: `seed`, the index of the image in the batch of all
        replicas, and the integers `purpose`. Draws with different `purpose` are independent.

        Args:
          *purpose: integers that name the use of the noise, such as `noise.FORWARD, 0`.
        """
        return noise.normal(noise.fold(self.seed, *purpose), tf.shape(self.images), self.first)

    def off_data(self) -> tf.Tensor:
        """Returns images unlike the data, made of the clean images, float32 [B, H, W, C] in [-1, 1].

        About half of the images get another contrast, from -1 to 1, and another brightness. The others are
        shifted sideways by at least one pixel, round the edge.
        """
        count = tf.shape(self.images)[0]
        width = self.images.shape[2]

        def drawn(number: int) -> tf.Tensor:
            return noise.uniform(noise.fold(self.seed, noise.OFF_DATA, number), count, self.first)

        contrast, brightness = (2 * drawn(number)[:, None, None, None] - 1 for number in (0, 1))
        changed = tf.clip_by_value(contrast * self.images + brightness, -1.0, 1.0)
        shift = 1 + tf.cast((width - 1) * drawn(2), tf.int32)[:, None]
        shifted = tf.gather(self.images, (tf.range(width) + shift) % width, axis=2, batch_dims=1)
        return tf.where(drawn(3)[:, None, None, None] < 0.5, changed, shifted)

    @property
    def terms(self) -> Terms:
        """The labels as the argument `terms` of `EnergyModel.density_at`: ((labels, 1.0),).

        Each pair (labels, weight) in `terms` adds weight * F(labels) to the log density, where F(labels) is
        the model's log density of images with these labels.
        """
        return ((self.labels, 1.0),)
