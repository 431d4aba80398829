"""Measures log Z of each class of a model at all noise levels, from noisy training images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.core import noise
from drl_tf.core.guidance import guided, network_labels
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel

_IMAGES = 500
_ITERATIONS = 200


def class_heights(
    model: EnergyModel,
    labels: list[int],
    weights: Weights,
    after_level: Callable[[float], object] = lambda share: None,
) -> dict[int, np.ndarray]:
    """Estimates the constant log Z of each class at each noise level, so that classes can be mixed.

    Given class c, a model computes F_c = log p_c + log Z_c, where log Z_c is an unknown constant.
    The constants of one noise level are estimated from training images, to which the noise of this level was
    added. These images need no labels: they are taken as samples of a mixture of all classes with equal
    weights. The density of the mixture is the mean of exp(F_c - log Z_c) over the classes c. The estimates
    maximise the likelihood of the images under the mixture.

    This determines the constants up to a common offset. The offset is chosen so that two log densities have
    the same mean over the images: that of the mixture, and the one that the model computes without a class.

    Args:
      model: a model that was trained with --energy=preconditioned, on classes.
      labels: the classes whose log Z is returned; the first class is 0.
      weights: 'ema' (averages) or 'raw'.
      after_level: function that is called after each level, with the share of the levels that are done, from
        0 to 1.

    Returns:
      {class: log Z at each of the T + 1 noise levels that sampling visits, float64 [T + 1]}.
    """
    walk, config = model.walk, model.config
    clean = pixels.from_levels(pipeline.load_images(config.data, 'train', _IMAGES).astype(np.float32))
    seed = noise.fold(noise.root(config.training.seed, noise.LIKELIHOOD), noise.LABEL)
    classes = range(-1, config.data.num_classes)

    def densities(x: tf.Tensor, angle: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        count = tf.shape(x)[:1]
        terms = guided(tf.fill(count, network_labels(label)))
        return model.log_prob_at(tf.fill(count, angle), weights, terms)(x)

    log_prob = tf.function(densities, autograph=False, reduce_retracing=True)
    found = []
    for level, angle in enumerate(walk.angle):
        eps = noise.normal(noise.fold(seed, level), clean.shape).numpy()
        x = tf.cast(np.cos(angle) * clean + np.sin(angle) * eps, tf.float32)
        F = [log_prob(x, tf.constant(np.float32(angle)), tf.constant(label)).numpy() for label in classes]
        found.append(mixture_heights(np.array(F[1:], float) - F[0]))
        after_level(len(found) / len(walk.angle))
    return {label: np.array([log_z[label] for log_z in found]) for label in labels}


def mixture_heights(ratios: np.ndarray) -> np.ndarray:
    """Estimates the constants log Z_c of an even mixture of C densities, from samples of the mixture.

    Component c has the density exp(F_c(x)) / Z_c, where F_c is known and Z_c is not. The density p of the
    mixture is the mean of the C densities, and is known too. If `ratios` are computed with k p instead of p,
    where k is an unknown constant, the results are estimates of log(Z_c / k).

    Args:
      ratios: F_c(x) - log p(x) for each component c and each of n samples x of p, float [C, n].

    Returns:
      log Z_c of each component, float64 [C].

    Examples:
      Adding 2 to the log density of a component adds 2 to its log Z:
      >>> x = np.linspace(-3, 3, 601)
      >>> mixture_heights(np.array([0 * x, 0 * x + 2])).round(3).tolist()
      [0.0, 2.0]
    """
    log_z = np.zeros(len(ratios))
    for _ in range(_ITERATIONS):
        heights = ratios - log_z[:, None]
        shares = heights - np.logaddexp.reduce(heights, axis=0)
        log_z += np.logaddexp.reduce(shares, axis=1) - math.log(ratios.shape[1] / len(ratios))
    # The mixture is p itself, so the mean of log(mixture / p) over the samples must be 0.
    mixture = np.logaddexp.reduce(ratios - log_z[:, None], axis=0) - math.log(len(ratios))
    return log_z + mixture.mean()
