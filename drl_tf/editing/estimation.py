"""Estimates the noise in images: finds the noise level at which training images have the same energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.core import noise
from drl_tf.data import pipeline

if TYPE_CHECKING:
    from drl_tf.editing.methods import Editing

UNKNOWN = 0.3  # Standard deviation of the noise that --degradation=noise adds to clean images.
_LOWEST, _HIGHEST, _LEVELS = 0.02, 2.0, 24
_REFERENCES = 128


def noise_std(model: Editing, images: np.ndarray) -> float:
    """Estimates the standard deviation of the white noise in images; all images have the same deviation.

    The function compares two mean log densities at each noise level sigma = S / A: the mean of the given
    images o, scaled to A o, and the mean of noisy training images A (x + sigma eps). If o has more noise than
    sigma, its mean is lower; if o has less noise, its mean is higher. The estimate is the sigma at which the
    two means agree. The unknown constant log Z of the level is in both means, and cancels.

    Args:
      model: a model of preconditioned energies.
      images: float32 [n, H, W, C], noisy; clean values are in [-1, 1].

    Returns:
      The standard deviation, from 0.02 to 2.
    """
    references = pipeline.load_images(model.config.data, 'train', _REFERENCES)
    clean = pixels.from_levels(references.astype(np.float32))
    seed = noise.root(model.config.training.seed, noise.LIKELIHOOD)
    sigmas = np.geomspace(_LOWEST, _HIGHEST, _LEVELS)
    log_prob = tf.function(lambda x, angle: model.model.log_prob_at(angle)(x), autograph=False)

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
    """Finds the sigma at which the gaps rise from below 0 to above 0, by interpolation between two sigmas.

    If the gaps cross 0 several times, the last crossing counts. If the gaps do not cross 0, the result is the
    first or the last sigma.

    Args:
      sigmas: ascending, float [N].
      gaps: the gap at each sigma, float [N].

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
