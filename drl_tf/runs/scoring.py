"""Scores images by a trained model: energies, log densities and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from drl_tf.base import pixels
from drl_tf.core import scores
from drl_tf.core.diffusion import at
from drl_tf.runs.heights import Heights
from drl_tf.runs.inputs import Inputs
from drl_tf.runs.scores import Scores

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel


class Scoring:
    """The part of `drl_tf.api.Model` that scores images.

    Args:
      model: the Keras model.
      heights: {attribute of `Heights`: value}; None if log Z is not known.
      weights: 'ema' or 'raw'.
    """

    def __init__(self, model: EnergyModel, heights: Mapping[str, Any] | None, weights: str = 'ema'):
        self.model = model
        self._heights = heights
        self._inputs = Inputs(model.config)
        self._energy = tf.function(
            lambda y, level, terms: model.density_at(level, weights, terms)(y),
            autograph=False,
            reduce_retracing=True,
        )
        self._scores = tf.function(
            lambda x, terms: scores.scores(
                model.schedule,
                lambda level: model.density_at(level, weights, terms),
                x,
                scores.levels(model.walk, model.scoring_level),
            ),
            autograph=False,
            reduce_retracing=True,
        )

    @property
    def config(self) -> Config:
        """The `Config` of the model."""
        return self.model.config

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.config.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes of the model; 0 for none."""
        return self.config.data.num_classes

    @property
    def num_levels(self) -> int:
        """T, the number of noise levels."""
        return self.config.diffusion.num_levels

    def energy(
        self,
        images: ArrayLike,
        level: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Computes the energies -F(m_t A_t x, t) of clean images x; at equal levels, lower means likelier.

        Args:
          images: uint8 or float within [-1, 1], [n, H, W, C].
          level: one t for all images, or one per image ([n]), 0 to T - 1. None: `EnergyModel.scoring_level`.
          labels: one class for all images, or one per image ([n]); None or -1 means no class.
          guidance: w in F = (1 + w) F(class) - w F(no class), -1 to 20.

        Returns:
          The energies in nats, float32 [n].

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> drl_tf.load('digits').energy(np.zeros([2, 16, 16, 1]), labels=[0, 1]).shape
          (2,)
        """
        x = self._inputs.clean(images)
        level = self._inputs.level(level, len(x), self.model.scoring_level)
        schedule = self.model.schedule
        y = at(schedule.m * schedule.A[:-1], level) * x
        return self._in_parts(
            lambda rows, terms: -self._energy(y[rows], level[rows], terms), len(x), labels, guidance
        )

    def log_prob(
        self, images: ArrayLike, level: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> np.ndarray:
        """Computes log p(A_t x) of clean images x in one forward pass; the heights (log Z) must be known.

        A black image may have a higher density than any digit: to tell real images from others, use
        `typicality`.

        Args:
          images, level, labels: see `energy`.

        Returns:
          log p in nats, float32 [n].

        Raises:
          UserError: the heights are not known, or an argument has a wrong shape or is out of range.

        Examples:
          >>> drl_tf.load('digits').log_prob(np.zeros([2, 16, 16, 1])).shape
          (2,)
        """
        heights = Heights.known(self._heights)
        energies = self.energy(images, level, labels)
        level = self._inputs.level(level, len(energies), self.model.scoring_level)
        return heights.log_prob(self.model.schedule, self.image_shape, energies, level)

    def typicality(self, images: ArrayLike) -> np.ndarray:
        """Computes how many standard deviations each image's log p is from the mean over training images.

        An atypical log p is too low or too high: noise has a low log p, an empty image a high one.

        Args:
          images: see `energy`.

        Returns:
          |log p - mean| / deviation, float32 [n]: about 1 for real images, more for others.

        Raises:
          UserError: the heights (log Z) are not known, or the images have a wrong shape or range.

        Examples:
          >>> black = -np.ones([1, 16, 16, 1])
          >>> bool(drl_tf.load('digits').typicality(black)[0] > 3)
          True
        """
        known = Heights.known(self._heights)
        return np.abs(self.log_prob(images) - known.typical_mean) / known.typical_std

    def score(self, images: ArrayLike, labels: ArrayLike | None = None, guidance: float = 0.0) -> Scores:
        """Computes energies and gradients of clean images, at the levels that sampling visits.

        Each level costs one gradient per image. `sampling_levels` of the configuration says how many levels
        sampling visits; `EnergyModel.scoring_level` is always among the levels of the scores.

        Args:
          images, labels, guidance: see `energy`.

        Returns:
          The `Scores`. Its log densities are None if the heights are not known.

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> drl_tf.load('digits').score(np.zeros([2, 16, 16, 1])).energy.shape
          (2, 6)
        """
        x = self._inputs.clean(images)

        def answer(rows: slice, terms: Any) -> list[np.ndarray]:
            return [part.numpy() for part in self._scores(tf.constant(x[rows]), terms)]

        energy, gradient, maps = self._in_parts(answer, len(x), labels, guidance)
        levels = scores.levels(self.model.walk, self.model.scoring_level)
        log_prob = bits = None
        if self._heights is not None:
            heights = Heights.known(self._heights)
            log_prob = heights.log_prob(self.model.schedule, self.image_shape, energy, levels)
            bits = (math.log(pixels.HALF) - log_prob / math.prod(self.image_shape)) / np.float32(math.log(2))
        return Scores(levels, self.model.scoring_level, energy, gradient, maps, log_prob, bits)

    def _in_parts(
        self,
        answer: Callable[[slice, Any], Any],
        count: int,
        labels: ArrayLike | None,
        guidance: float,
    ) -> Any:
        """Calls `answer` with each batch of rows and their guidance terms; concatenates the results.

        `answer` returns an array, or a list of arrays; `_in_parts` returns the same.
        """
        labels = self._inputs.labels(labels, count)
        size = self.config.sampling.sample_batch_size
        answers = []
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            part = None if labels is None else labels[rows]
            answers.append(answer(rows, self._inputs.terms(part, rows.stop - start, guidance)))
        if isinstance(answers[0], list):
            return [np.concatenate(part) for part in zip(*answers, strict=True)]
        return np.concatenate(answers)
