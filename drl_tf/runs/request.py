"""Describes a set of images to draw from a trained model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.core.guidance import UNCONDITIONAL, Terms, composed, guided, network_labels
from drl_tf.core.weights import Weights

if TYPE_CHECKING:
    from drl_tf.config.config import Config


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """A set of images to draw. Image i depends on (seed, i) and the settings, not on the rest of the set.

    Attributes:
      count: number of images, at least 1.
      seed: any int.
      first: index of the first image.
      labels: the classes, counted from 0, that the images take in turn; empty for all classes of the model.
      label_weights: empty, or one weight per class in `labels`. With weights, each image comes from the
        product of the experts of these classes (see `guidance.composed`), without guidance.
      guidance: w in (1 + w) F(class) - w F(no class), for models with classes.
      weights: whether to use averaged or raw weights.
      step: step of the checkpoint; None for the newest.

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
        """Returns a request with seed and guidance of a configuration; `changes` sets other attributes."""
        composes = bool(changes.get('label_weights'))
        guidance = 0.0 if composes else config.sampling.guidance
        return cls(count, **{'seed': config.training.seed, 'guidance': guidance, **changes})

    def part(self, first: int, count: int) -> SampleRequest:
        """Returns the request for `count` of these images, starting at index `first`."""
        return dataclasses.replace(self, first=first, count=count)

    def classes(self, num_classes: int) -> np.ndarray:
        """Returns the class of each image, int32 [count], given that the images take the classes in turn."""
        turn = np.asarray(self.labels or range(num_classes), np.int32)
        return turn[np.arange(self.first, self.first + self.count) % len(turn)]

    def terms(self, num_classes: int) -> Terms:
        """Returns the guidance of these images, (labels, weight) pairs as in `core.guidance`."""
        if self.label_weights:
            experts = [tf.fill([self.count], network_labels(label)) for label in self.labels]
            return composed(experts, list(self.label_weights))
        if num_classes:
            return guided(tf.constant(network_labels(self.classes(num_classes))), self.guidance)
        return UNCONDITIONAL
