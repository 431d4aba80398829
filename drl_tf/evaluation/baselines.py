"""Baselines for out-of-distribution detection: scores of images that need no energy-based model."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from sklearn import covariance

from drl_tf.evaluation.metrics.features import checked
from drl_tf.runs.pictures import to_pil


def png_bits(images: np.ndarray) -> np.ndarray:
    """Returns the size of each image as a PNG file, in bits: a measure of its complexity.

    Reference: Serrà et al., "Input Complexity and Out-of-distribution Detection with Likelihood-based
    Generative Models", ICLR 2020.

    Args:
      images: uint8 [n, H, W, C], C = 1 or 3.

    Returns:
      float64 [n].

    Examples:
      A black image is less complex than noise:
      >>> black, noise = np.zeros([16, 16, 1]), np.random.default_rng(0).integers(0, 256, [16, 16, 1])
      >>> few, many = png_bits(np.stack([black, noise]).astype(np.uint8))
      >>> bool(few < many / 3)
      True
    """
    return np.array([_png_bytes(image) * 8.0 for image in images])


def _png_bytes(image: np.ndarray) -> int:
    file = io.BytesIO()
    to_pil(image).save(file, format='png', optimize=True)
    return file.tell()


def mahalanobis(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fits a Gaussian to features; returns a function that computes squared Mahalanobis distances from it.

    As in Lee et al. (NeurIPS 2018), but with one Gaussian for all classes. The covariance is the estimate of
    Ledoit and Wolf, which works for fewer images than features.

    Args:
      features: features of N training images, float [N, d].

    Returns:
      A function of the features of n images, float [n, d]; it returns their squared distances, float64 [n].

    Raises:
      UserError: a feature is not finite.

    Examples:
      >>> distance = mahalanobis(np.random.default_rng(0).normal(size=[10_000, 3]))
      >>> distance(np.array([[0.0, 0, 0], [3, 0, 0]])).round().tolist()
      [0.0, 9.0]
    """
    fitted = covariance.LedoitWolf().fit(checked(features).astype(np.float64))
    return lambda others: fitted.mahalanobis(checked(others).astype(np.float64))
