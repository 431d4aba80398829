"""Methods of `drl_tf.EnergyModel` that score images: energies, their gradients, and log densities."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.core import scores
from drl_tf.core.diffusion import at
from drl_tf.core.guidance import Terms
from drl_tf.core.langevin import value_gradient
from drl_tf.core.weights import Weights
from drl_tf.runs.heights import Heights
from drl_tf.runs.inputs import Inputs, finite
from drl_tf.runs.scores import Scores

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood


class Scoring(keras.Model):
    """The methods of `drl_tf.EnergyModel` that score images.

    Args:
      model: the Keras model inside the `EnergyModel`, a `RecoveryLikelihood`.
      heights: constants that turn energies into log p, such as 'log_z' (log Z of each noise level), a dict;
        `drl_tf.runs.heights.Heights` explains all entries. None: not known.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
    """

    def __init__(
        self,
        model: RecoveryLikelihood,
        heights: Mapping[str, Any] | None = None,
        weights: Weights = Weights.EMA,
    ):
        super().__init__(name='energy_model')
        self.model = model
        self._known_heights = heights
        self._weights = weights
        self._checked = Inputs(model.config)
        compiled = functools.partial(tf.function, autograph=False, reduce_retracing=True)

        def score(x: tf.Tensor, level: tf.Tensor, terms: Terms) -> tf.Tensor:
            log_density = model.density_at(level, weights, terms)
            return value_gradient(lambda x: log_density(at(model.schedule.m, level) * x), x)

        def at_all_levels(x: tf.Tensor, terms: Terms) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            levels = scores.levels(model.walk, model.scoring_level)
            return scores.scores(
                model.schedule, lambda level: model.density_at(level, weights, terms), x, levels
            )

        self._energy = compiled(lambda y, level, terms: model.density_at(level, weights, terms)(y))
        self._score = compiled(score)
        self._scores = compiled(at_all_levels)

    @property
    def heights(self) -> Mapping[str, Any] | None:
        """Constants that turn energies into log p, a dict; None if they are not known.

        The entry 'log_z' has log Z of each noise level; `drl_tf.runs.heights.Heights` explains all entries.
        """
        return self._known_heights

    @property
    def config(self) -> Config:
        """The configuration of the model, a `Config`."""
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
        """T, the number of noise levels, whose indices are 0 (lowest) to T - 1."""
        return self.config.diffusion.num_levels

    def energy(
        self,
        images: ArrayLike,
        level: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Computes the energies of clean images; the lower the energy, the likelier the image.

        Noise level t scales an image x to y_t = m_t A_t x, without adding noise; m_t and A_t are constants of
        the level. The energy is -F(y_t, t), where F is the model's unnormalised log density of noisy images.
        Only energies at the same level can be compared.

        Args:
          images: x, uint8 or floats in [-1, 1], [n, H, W, C].
          level: t, 0 to `num_levels` - 1, one for all images or one per image ([n]). None: the level at which
            energies compare images best.
          labels: class number from 0, one for all images or one per image ([n]); None or -1: no class.
          guidance: w, -1 to 20; replaces the log density F(class) by (1 + w) F(class) - w F(no class).

        Returns:
          The energies in nats, float32 [n].

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.energy(np.zeros([2, 16, 16, 1]), labels=[0, 1]).shape
          (2,)
        """
        x = self._checked.clean(images)
        level = self._checked.level(level, len(x), self.model.scoring_level)
        schedule = self.model.schedule
        y = at(schedule.m * schedule.A[:-1], level) * x
        return self._in_parts(
            lambda rows, terms: -self._energy(y[rows], level[rows], terms), len(x), labels, guidance
        )

    def score(
        self,
        images: ArrayLike,
        level: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        guidance: float = 0.0,
    ) -> np.ndarray:
        """Computes the score of noisy images x_t, the gradient of log p(x_t) in x_t.

        A noisy image at level t is x_t = A_t x + S_t eps, with the clean image x and eps ~ N(0, I). A_t and
        S_t are constants of the level, `model.schedule.A` and `model.schedule.S`.

        Args:
          images: x_t, float [n, H, W, C]; or uint8, which is scaled to [-1, 1].
          level: t, 0 to `num_levels` - 1, one for all images or one per image ([n]). None: the level at which
            energies compare clean images best.
          labels: class number from 0, one for all images or one per image ([n]); None or -1: no class.
          guidance: w, -1 to 20; replaces the log density F(class) by (1 + w) F(class) - w F(no class).

        Returns:
          The score, float32 [n, H, W, C].

        Raises:
          UserError: an argument has a wrong shape or is out of range, or the score is not finite.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').score(np.zeros([2, 16, 16, 1])).shape
          (2, 16, 16, 1)
        """
        x = self._checked.images(images)
        level = self._checked.level(level, len(x), self.model.scoring_level)

        def answer(rows: slice, terms: Terms) -> tf.Tensor:
            return self._score(x[rows], level[rows], terms)

        return finite(self._in_parts(answer, len(x), labels, guidance))

    def log_prob(
        self, images: ArrayLike, level: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> np.ndarray:
        """Computes the log density of clean images at a noise level, for models whose log Z is known.

        Z is the constant that normalises the model's density. It is known if the model was trained with
        --energy=preconditioned --levels=continuous, and --mode=likelihood (--mode=density for points) has
        estimated it. The attribute `heights` has the estimate, or is None if Z is not known.

        The log density is log p(A_t x), where p is the density of noisy images x_t = A_t x + S_t eps of
        level t. A high log density does not make an image real: a black image may have a higher one than any
        digit. To tell real images from others, use `typicality`.

        Log Z is that of the model without a class. With `labels`, the result is log p(x given the class) up
        to a constant of each class: compare such results within a class.

        Args:
          images: x, uint8 or floats in [-1, 1], [n, H, W, C].
          level: t, 0 to `num_levels` - 1, one for all images or one per image ([n]). None: the level at which
            log densities compare images best.
          labels: class number from 0, one for all images or one per image ([n]); None or -1: no class.

        Returns:
          The log densities in nats, float32 [n].

        Raises:
          UserError: log Z is not known, or an argument has a wrong shape or is out of range.

        Examples:
          >>> drl_tf.EnergyModel.from_preset('digits').log_prob(np.zeros([2, 16, 16, 1])).shape
          (2,)
        """
        heights = self._heights()
        energies = self.energy(images, level, labels)
        level = self._checked.level(level, len(energies), self.model.scoring_level)
        return heights.log_prob(self.model.schedule, self.image_shape, energies, level)

    def typicality(self, images: ArrayLike) -> np.ndarray:
        """Computes how unusual each image's log density is among those of training images.

        The log density of an atypical image is too low, as for noise, or too high, as for an empty image. The
        model must know log Z (see `log_prob`): its attribute `heights` must not be None.

        Args:
          images: uint8 or floats in [-1, 1], [n, H, W, C].

        Returns:
          The distance of log p from its mean over training images, in standard deviations, float32 [n]: about
          1 for real images, more for others.

        Raises:
          UserError: log Z is not known, or the images have a wrong shape or range.

        Examples:
          >>> black = -np.ones([1, 16, 16, 1])
          >>> bool(drl_tf.EnergyModel.from_preset('digits').typicality(black)[0] > 3)
          True
        """
        known = self._heights()
        return np.abs(self.log_prob(images) - known.typical_mean) / known.typical_std

    def anomaly_scores(
        self, images: ArrayLike, labels: ArrayLike | None = None, guidance: float = 0.0
    ) -> Scores:
        """Computes energies and gradients of clean images at several noise levels, to find anomalies.

        The levels are those that sampling visits, and the one at which energies compare images best, in
        ascending order. Each level costs one gradient per image.

        Args:
          images: uint8 or floats in [-1, 1], [n, H, W, C].
          labels: class number from 0, one for all images or one per image ([n]); None or -1: no class.
          guidance: w, -1 to 20; replaces the log density F(class) by (1 + w) F(class) - w F(no class).

        Returns:
          `Scores` of n images at L levels, whose indices are in `levels`: `energy` in nats and `gradient`,
          float32 [n, L], and `maps`, float32 [n, L, H, W]. `gradient` tells how far denoising would move the
          image, and `maps` each pixel; large values mean anomalies. `log_prob` and `bits_per_dim` are None if
          log Z is not known.

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> model.anomaly_scores(np.zeros([2, 16, 16, 1])).energy.shape
          (2, 6)
        """
        x = self._checked.clean(images)

        def answer(rows: slice, terms: Any) -> list[np.ndarray]:
            return [part.numpy() for part in self._scores(tf.constant(x[rows]), terms)]

        energy, gradient, maps = self._in_parts(answer, len(x), labels, guidance)
        levels = scores.levels(self.model.walk, self.model.scoring_level)
        log_prob = bits = None
        if self.heights is not None:
            heights = Heights.known(self.heights)
            log_prob = heights.log_prob(self.model.schedule, self.image_shape, energy, levels)
            bits = (math.log(pixels.HALF) - log_prob / math.prod(self.image_shape)) / np.float32(math.log(2))
        return Scores(levels, self.model.scoring_level, energy, gradient, maps, log_prob, bits)

    def _heights(self) -> Heights:
        """Returns the heights; raises UserError if they are not known, or cannot be."""
        if not self.model.normalised:
            raise UserError(
                'log_prob and typicality need the normalised energies of recipe preconditioned: use energy, '
                'which compares images at one level'
            )
        return Heights.known(self.heights)

    def _in_parts(
        self, answer: Callable[[slice, Any], Any], count: int, labels: ArrayLike | None, guidance: float
    ) -> Any:
        """Computes results for `count` images in batches.

        Calls `answer` with the rows and the guidance terms of each batch, and concatenates what `answer`
        returns: arrays, or lists of arrays.
        """
        labels = self._checked.labels(labels, count)
        size = self.config.sampling.sample_batch_size
        answers = []
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            part = None if labels is None else labels[rows]
            answers.append(answer(rows, self._checked.terms(part, rows.stop - start, guidance)))
        if isinstance(answers[0], list):
            return [np.concatenate(part) for part in zip(*answers, strict=True)]
        return np.concatenate(answers)
