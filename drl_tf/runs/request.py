"""What to draw from a trained model, in one piece."""

import dataclasses

import numpy as np
import tensorflow as tf

from drl_tf.core.guidance import UNCONDITIONAL, composed, guided, network_labels
from drl_tf.core.weights import Weights


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """A set of images to draw: image i depends on (seed, i) and on the settings, not on the set.

    Attributes:
      count: how many images, from 1.
      seed: an int.
      first: index of the first image.
      labels: classes from 0 that the images take in turn; empty for all classes of the model.
      label_weights: empty, or one weight for each of `labels`: every image is then drawn from the product of
        these experts (see `guidance.composed`), which has no guidance.
      guidance: w of (1 + w) F(class) - w F(no class), for models with classes.
      weights: averaged or raw.
      step: of the checkpoint; None for the newest.

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
    def of(cls, config, count, **changes):
        """A request with the seed and the guidance of a `Config`."""
        composes = bool(changes.get('label_weights'))
        guidance = 0.0 if composes else config.sampling.guidance
        return cls(count, **{'seed': config.training.seed, 'guidance': guidance, **changes})

    def part(self, first, count):
        """The request for some of the images."""
        return dataclasses.replace(self, first=first, count=count)

    def classes(self, num_classes):
        """Class of each image where they take turns, from 0, int32 [count]."""
        turn = np.asarray(self.labels or range(num_classes), np.int32)
        return turn[np.arange(self.first, self.first + self.count) % len(turn)]

    def terms(self, num_classes):
        """The energies to sum for these images, see `guidance`."""
        if self.label_weights:
            experts = [tf.fill([self.count], network_labels(label)) for label in self.labels]
            return composed(experts, list(self.label_weights))
        if num_classes:
            return guided(tf.constant(network_labels(self.classes(num_classes))), self.guidance)
        return UNCONDITIONAL
