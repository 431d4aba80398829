"""Estimates the amount of noise in images."""

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
    """Estimates the standard deviation of white noise in images, one number for all images.

    At several sigmas, white noise of deviation sigma is added to training images. The model's mean
    log density of these noisy images at noise level sigma is compared with that of the given images
    there. If the given images have more noise than sigma, their mean is lower; if less, higher. The
    estimate is the sigma at which both means are equal.

    Args:
      model: a model whose energies are preconditioned, and so are log densities at every sigma.
      images: noisy images, float32 [n, H, W, C]; without noise, they would be in [-1, 1].

    Returns:
      The standard deviation in the units of `images`; the search goes from 0.02 to 2.
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
    """Finds the sigma at which a function rises from below 0 to above 0, by interpolation in log sigma.

    Args:
      sigmas: ascending, float [N].
      gaps: the value of the function at each sigma, float [N].

    Returns:
      The sigma. If there are several such places, it is the last one. If there is none, it is the first of
      `sigmas` if all values are above 0, else the last.

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
