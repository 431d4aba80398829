"""A part of a training batch, with the noise levels and the noise of its images."""

import dataclasses
from typing import Any

import tensorflow as tf

from drl_tf.core import noise


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive images of a step.

    Attributes:
      images: float32 [B, H, W, C] in [-1, 1].
      level: t of each, int32 [B]; the nearest one where levels are continuous.
      labels: classes from 1, 0 for none, int32 [B]; None where the model has no classes.
      seed: of the step, int32 [2].
      first: index of the first image in the global batch.
      angle: noise level of each image, as in `Schedule.angle`, float32 [B]; None where no loss asks for it.
    """

    images: Any
    level: Any
    labels: Any
    seed: Any
    first: Any
    angle: Any = None

    def noise(self, *purpose):
        """Standard normal noise for a purpose, like `images`."""
        return noise.normal(noise.fold(self.seed, *purpose), tf.shape(self.images), self.first)

    @property
    def terms(self):
        """The energy of each image under its own class."""
        return ((self.labels, 1.0),)
