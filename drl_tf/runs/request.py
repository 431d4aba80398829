"""What to draw from a trained model."""

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
      count: number of images, from 1.
      seed: any int.
      first: index of the first image.
      labels: classes from 0 that the images take in turn; empty for all classes of the model.
      label_weights: one weight for each of `labels`: every image is then drawn from the product of these
        experts (see `guidance.composed`), without guidance. Empty for none.
      guidance: w of (1 + w) F(class) - w F(no class), for models with classes.
      weights: averaged or raw.
      step: of the checkpoint; None takes the newest.

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
        """A request with the seed and guidance of a configuration, then `changes` to its attributes."""
        composes = bool(changes.get('label_weights'))
        guidance = 0.0 if composes else config.sampling.guidance
        return cls(count, **{'seed': config.training.seed, 'guidance': guidance, **changes})

    def part(self, first: int, count: int) -> SampleRequest:
        """The request for `count` of the images, from index `first`."""
        return dataclasses.replace(self, first=first, count=count)

    def classes(self, num_classes: int) -> np.ndarray:
        """Class of each image, where they take turns: from 0, int32 [count]."""
        turn = np.asarray(self.labels or range(num_classes), np.int32)
        return turn[np.arange(self.first, self.first + self.count) % len(turn)]

    def terms(self, num_classes: int) -> Terms:
        """Guidance of these images: (labels, weight) pairs, see `guidance`."""
        if self.label_weights:
            experts = [tf.fill([self.count], network_labels(label)) for label in self.labels]
            return composed(experts, list(self.label_weights))
        if num_classes:
            return guided(tf.constant(network_labels(self.classes(num_classes))), self.guidance)
        return UNCONDITIONAL
