"""Estimates log Z of preconditioned energies at every noise level, from noisy training images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.core import heights, noise
from drl_tf.core.guidance import UNCONDITIONAL
from drl_tf.core.weights import Weights

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel


class Heights:
    """Estimates log Z at each noise level of a model, where p(x) = exp(F(x)) / Z is its density of images x.

    Args:
      model: a model trained with --energy=preconditioned and --levels=continuous.
      weights: 'ema' (averages) or 'raw'.
      seed: seed of the noise in the images, int32 [2].
      batch_size: images per call of the network.
    """

    def __init__(self, model: EnergyModel, weights: Weights, seed: tf.Tensor, batch_size: int):
        self.model = model
        self.weights = weights
        self.seed = seed
        self.batch_size = batch_size
        spacing = heights.spacing(math.prod(model.config.image_shape))
        self.angles, self.places = heights.grid(model.schedule.angle, spacing)
        self._energies = tf.function(self._compute, autograph=False, reduce_retracing=True)

    def measure(
        self, images: np.ndarray, after_level: Callable[[], object] = lambda: None
    ) -> dict[str, heights.Estimate]:
        """Estimates log Z in two ways: by thermodynamic integration and by Bennett's acceptance ratio.

        Both find how much log Z differs from log Z at the top noise level. At the top, the noisy images x are
        almost Gaussian, so log Z is about the mean of F(x) - log g(x), where g is the Gaussian density.

        Args:
          images: clean training images in [-1, 1], float32 [n, H, W, C].
          after_level: callable without arguments, called after each noise level.

        Returns:
          {'integration': .., 'bennett': ..}: for each method, an object with log Z (`log_z`) and its standard
          error (`error`) at the T + 1 noise levels of the model's schedule, float64 [T + 1] each.
        """
        found = []
        for index in range(len(self.angles)):
            found.append(self._at(index, images))
            after_level()
        slopes, above, below, log_ratio = (np.stack(part) for part in zip(*found, strict=True))
        estimates = {
            'integration': heights.integrated(self.angles, slopes),
            'bennett': heights.bridged(above[:-1], below[1:]),
        }
        top, top_error = _mean(log_ratio[-1])
        return {
            name: heights.Estimate(
                estimate.log_z[self.places] + top, np.hypot(estimate.error[self.places], top_error)
            )
            for name, estimate in estimates.items()
        }

    def _at(self, index, images):
        """Returns four arrays, float64 [n], for n images at level `index`.

        They are: dF / d angle; the log density of the network's input one level up minus that at `index`; the
        same one level down; and F minus the log density of the Gaussian.
        """
        last = len(self.angles) - 1
        angles = np.float32(self.angles[[index, min(index + 1, last), max(index - 1, 0)]])
        seed = noise.fold(self.seed, index)
        parts = []
        for first in range(0, len(images), self.batch_size):
            clean = tf.constant(images[first : first + self.batch_size])
            eps = noise.normal(seed, tf.shape(clean), first)
            parts.append([part.numpy() for part in self._energies(clean, eps, angles)])
        return [np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)]

    def _compute(self, clean, eps, angles):
        here, above, below = (tf.fill(tf.shape(clean)[:1], angles[index]) for index in range(3))
        x = tf.cos(angles[0]) * clean + tf.sin(angles[0]) * eps
        network = self.model.network_of(self.weights)
        with tf.GradientTape() as tape:
            tape.watch(here)
            F = self.model.log_prob_at(here, self.weights, UNCONDITIONAL)(x)
        w = network.whitened(x, here)
        F_w = F + network.log_volume(here)
        moved = [
            self.model.log_prob_at(angle, self.weights, UNCONDITIONAL)(network.unwhitened(w, angle))
            + network.log_volume(angle)
            - F_w
            for angle in (above, below)
        ]
        log_ratio = F - network.gaussian(x, here)
        return tape.gradient(F, here), *moved, log_ratio


def _mean(values):
    return float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))
