"""Estimates the amount of noise in images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.core import noise
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline

if TYPE_CHECKING:
    from drl_tf.editing.methods import Editing

UNKNOWN = 0.3  # Standard deviation of the noise that --degradation=noise adds to clean images.
_LOWEST, _HIGHEST, _LEVELS = 0.02, 2.0, 24
_REFERENCES = 128


def noise_std(model: Editing, images: np.ndarray, weights: Weights = Weights.EMA) -> float:
    """Estimates the standard deviation of white noise in images, one number for all images.

    For each of several values sigma, white noise of standard deviation sigma is added to training images.
    Then the model computes log densities at noise level sigma, of these training images and of `images`. If
    `images` have more noise than sigma, their mean log density is lower than that of the training images; if
    they have less, it is higher. The estimate is the sigma at which both means are equal.

    Args:
      model: a model that was trained with --energy=preconditioned; only such models compute log densities
        at any noise level.
      images: noisy images, float32 [n, H, W, C]; without noise, they would be in [-1, 1].
      weights: the weights that compute the log densities, 'ema' (averages) or 'raw'.

    Returns:
      The standard deviation of the noise, in the units of `images`, from 0.02 to 2.
    """
    references = pipeline.load_images(model.config.data, 'train', _REFERENCES)
    clean = pixels.from_levels(references.astype(np.float32))
    seed = noise.root(model.config.training.seed, noise.LIKELIHOOD)
    sigmas = np.geomspace(_LOWEST, _HIGHEST, _LEVELS)
    log_prob = tf.function(lambda x, angle: model.model.log_prob_at(angle, weights)(x), autograph=False)

    def mean(x: np.ndarray | tf.Tensor, sigma: float) -> float:
        angle = np.arctan(sigma)
        scaled = tf.cast(np.cos(angle) * x, tf.float32)
        return float(tf.reduce_mean(log_prob(scaled, tf.fill([len(x)], np.float32(angle)))))

    gaps = []
    for index, sigma in enumerate(sigmas):
        eps = noise.normal(noise.fold(seed, noise.FORWARD, index), clean.shape).numpy()
        gaps.append(mean(images, sigma) - mean(clean + sigma * eps, sigma))
    return crossing(sigmas, np.array(gaps))


def crossing(sigmas: np.ndarray, gaps: np.ndarray) -> float:
    """Finds the sigma at which a function rises from below 0 to above 0, by interpolation in log sigma.

    Args:
      sigmas: ascending, float [N].
      gaps: the value of the function at each sigma, float [N].

    Returns:
      The sigma at which the function rises through 0. If it does so more than once, this is the largest such
      sigma. If it never does: the first of `sigmas` if no value is below 0, else the last.

    Examples:
      >>> round(crossing(np.array([0.1, 0.2, 0.4]), np.array([-5.0, -1.0, 1.0])), 3)
      0.283
    """
    below = np.flatnonzero(gaps < 0)
    if not len(below):
        return float(sigmas[0])
    last = int(below[-1])
    if last == len(sigmas) - 1:
        return float(sigmas[-1])
    share = gaps[last] / (gaps[last] - gaps[last + 1])
    return float(np.exp(np.log(sigmas[last]) + share * np.log(sigmas[last + 1] / sigmas[last])))
