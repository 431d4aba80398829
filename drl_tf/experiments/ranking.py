"""Measures how well log densities tell real images from corrupted images and from letters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from drl_tf.data import letters
from drl_tf.evaluation.metrics.detection import auroc

_SHIFT = 5 / 16  # Of the width.
_NOISE = 30


def ranking(
    log_prob: Callable[[np.ndarray], np.ndarray], mean: float, images: np.ndarray, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Computes AUROCs of held-out images against several kinds of other images, by two scores.

    Args:
      log_prob: callable that maps images, uint8 [n, H, W, C], to log densities, float [n].
      mean: mean of the log densities of training images.
      images: held-out images, uint8 [n, H, W, C].
      seed: seed of the noise in the other images.

    Returns:
      {kind of other images, such as 'uniform' (noise) or 'inverted': {'log_prob': .., 'typicality': ..}}.
      'log_prob' is the probability that a held-out image has a higher log density than one of the others;
      'typicality', that its log density is nearer to `mean`.

    Examples:
      If darker images have a higher log density, white images never win, and black images always win:
      >>> images = np.random.default_rng(0).integers(0, 3, [50, 16, 16, 1]).astype(np.uint8)
      >>> found = ranking(lambda x: -x.mean((1, 2, 3)), mean=-1, images=images)
      >>> found['white'], found['black']
      ({'log_prob': 1.0, 'typicality': 1.0}, {'log_prob': 0.0, 'typicality': 1.0})
    """
    real = log_prob(images)
    found = {}
    for name, other in others(images, seed).items():
        scores = log_prob(other)
        found[name] = {
            'log_prob': auroc(real, scores),
            'typicality': auroc(-np.abs(real - mean), -np.abs(scores - mean)),
        }
    return found


def others(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Makes several kinds of images that a model should tell from real images.

    Args:
      images: real images, uint8 [n, H, W, C].
      seed: seed of the random changes.

    Returns:
      {kind: uint8 [n, H, W, C]}: 'uniform' (noise), 'shuffled' (the pixels of an image in random order),
      'inverted', 'white', 'black', 'noisy' (with added noise, whose standard deviation is 30 grey levels),
      'shifted' (cyclically, by 5/16 of the width), 'blurred' (by a Gaussian whose standard deviation is one
      pixel) and 'letters' (a white letter on black).
    """
    rng = np.random.default_rng(seed)
    shape = images.shape
    pixels = images.reshape(len(images), -1, shape[-1])
    order = rng.permuted(np.tile(np.arange(pixels.shape[1]), (len(images), 1)), axis=1)
    return {
        'uniform': rng.integers(0, 256, shape).astype(np.uint8),
        'shuffled': np.take_along_axis(pixels, order[..., None], 1).reshape(shape),
        'inverted': 255 - images,
        'white': np.full_like(images, 255),
        'black': np.zeros_like(images),
        'noisy': np.clip(images + rng.normal(0, _NOISE, shape), 0, 255).astype(np.uint8),
        'shifted': np.roll(images, round(shape[2] * _SHIFT), axis=2),
        'blurred': gaussian_filter(images, (0, 1, 1, 0)),
        'letters': letters.draw(shape, [None]),
    }
