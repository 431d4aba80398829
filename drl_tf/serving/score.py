"""The signature `score` of an exported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from drl_tf.core import scores
from drl_tf.core.langevin import LogDensity
from drl_tf.core.weights import Weights

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.runs.heights import Heights


def score_outputs(
    model: EnergyModel, weights: Weights, heights: Heights | None, images: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Computes energies, gradients and maps of clean images at several noise levels, as a TensorFlow graph.

    g, the gradient of the log density times the standard deviation of the noise, tells how far denoising
    would move each pixel. It is large where an image is unlikely.

    Args:
      model: a float32 model.
      weights: 'ema' (averages) or 'raw'.
      heights: the constants that turn energies into log p: log Z of each noise level, and the mean and the
        standard deviation of log p over training images. None if log Z is not known.
      images: clean images, float32 [n, H, W, C] in [-1, 1].

    Returns:
      A dict of float32 tensors. The L noise levels, in ascending order, are the levels that sampling visits,
      and the level `EnergyModel.scoring_level`:

      - 'energy': the energy in nats, which is minus the log density up to a constant of the level, [n, L].
      - 'gradient': norm of g over all pixels and channels, [n, L].
      - 'maps': root mean square of g over the channels of each pixel, [n, L, H, W].
      - 'log_prob': the log density in nats, [n, L]; only with `heights`.
      - 'typicality': distance of the log density from its mean over training images, in standard deviations,
        at the level `EnergyModel.scoring_level`, [n]; only with `heights`.
    """
    levels = scores.levels(model.walk, model.scoring_level)

    def density_at(level: tf.Tensor) -> LogDensity:
        return model.density_at(level, weights)

    energy, gradient, maps = scores.scores(model.schedule, density_at, images, levels)
    energy = tf.debugging.assert_all_finite(energy, 'the energy is not finite: images must be smaller')
    found = {'energy': energy, 'gradient': gradient, 'maps': maps}
    if heights is None:
        return found
    constants = heights.constants(model.schedule, model.config.image_shape, levels)
    log_prob = tf.constant(constants, tf.float32) - energy
    scoring = log_prob[:, levels.tolist().index(model.scoring_level)]
    return {
        **found,
        'log_prob': log_prob,
        'typicality': tf.abs(scoring - heights.typical_mean) / heights.typical_std,
    }
