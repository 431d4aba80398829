"""Describes a set of images to draw from a trained model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.guidance import UNCONDITIONAL, Terms, composed, guided, network_labels
from drl_tf.core.weights import Weights

if TYPE_CHECKING:
    from drl_tf.config.config import Config


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """Which images to draw from a trained model, and with which weights.

    Image i depends on (seed, i) and the other attributes, but not on how many images are drawn.

    Attributes:
      count: number of images, at least 1.
      seed: random seed, any int.
      first: index i of the first image.
      labels: class numbers from 0, which the images take in turn; empty: all classes of the model.
      label_weights: empty, or a weight w_c for each class c in `labels`. With weights, each image combines
        all these classes: its log density is F(no class) + sum_c w_c (F(c) - F(no class)), where F(c) is the
        model's log density of images of class c, and `guidance` is not used.
      guidance: w, for models with classes; replaces the log density F(class) by
        (1 + w) F(class) - w F(no class).
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
      step: training step of the checkpoint to use; None: the newest.

    Example:
      SampleRequest.of(config, 16, labels=(3,))
    """

    count: int
    seed: int = 0
    first: int = 0
    labels: tuple[int, ...] = ()
    label_weights: tuple[float, ...] = ()
    guidance: float = 0.0
    weights: Weights = Weights.EMA
    step: int | None = None

    @classmethod
    def of(cls, config: Config, count: int, **changes: Any) -> SampleRequest:
        """Returns a request with the seed and the guidance of a configuration.

        Args:
          config: the configuration.
          count: number of images.
          **changes: {attribute: value}, other attributes of the request, such as labels=(3,). Here `seed` and
            `guidance` override those of the configuration.
        """
        composes = bool(changes.get('label_weights'))
        guidance = 0.0 if composes else config.sampling.guidance
        return cls(count, **{'seed': config.training.seed, 'guidance': guidance, **changes})

    @property
    def noise_seed(self) -> list[int]:
        """Seed of the noise of all images, which `EnergyModel.sample` of the core takes."""
        return noise.root(self.seed, noise.SAMPLING)

    def part(self, first: int, count: int) -> SampleRequest:
        """Returns the same request for other image indices, such as those of one batch.

        Args:
          first: the new value of the attribute `first`. It is not added to the present value.
          count: the new number of images.
        """
        return dataclasses.replace(self, first=first, count=count)

    def classes(self, num_classes: int) -> np.ndarray:
        """Returns the class of each image: the images take the classes in `labels` in turn.

        If `labels` is empty, they take all classes of the model in turn. The turn begins at image 0, so the
        class of image i does not depend on `first`.

        Args:
          num_classes: number of classes of the model, at least 1.

        Returns:
          Class numbers from 0, int32 [count], for the images `first`, `first` + 1, ..
        """
        turn = np.asarray(self.labels or range(num_classes), np.int32)
        return turn[np.arange(self.first, self.first + self.count) % len(turn)]

    def terms(self, num_classes: int) -> Terms:
        """Returns classes and guidance as (labels, weight) pairs, the argument `terms` of the Keras model.

        The log density that the model samples from is the sum of weight * F(labels) over the pairs, where
        F(labels) is the model's log density of images with these labels. The labels are int32 [count]:
        class + 1 of each image, 0 for no class. They are None if the model has no classes.

        Args:
          num_classes: number of classes of the model; 0 for none.
        """
        if self.label_weights:
            experts = [tf.fill([self.count], network_labels(label)) for label in self.labels]
            return composed(experts, list(self.label_weights))
        if num_classes:
            return guided(tf.constant(network_labels(self.classes(num_classes))), self.guidance)
        return UNCONDITIONAL
