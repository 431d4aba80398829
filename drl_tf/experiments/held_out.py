"""Computes terms of the log likelihood of all images of a split."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.core import noise
from drl_tf.data import pipeline
from drl_tf.experiments import bridges
from drl_tf.experiments.bits_per_dim import terms_of_images
from drl_tf.runs import pictures

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.langevin import LogDensity

_IMAGES = 2  # Purpose of a seed: the noise of the images.


def terms(
    schedule: Schedule,
    density_at: Callable[[tf.Tensor], LogDensity],
    config: Config,
    split: str,
    limit: int | None,
) -> dict[str, np.ndarray]:
    """Computes three terms of the log likelihood of the images of a split.

    Each image gets a random draw of the noise of level 0, the lowest. To get the log likelihood, the caller
    needs one more number: log Z_0, the log normalising constant of level 0.

    Args:
      schedule: noise levels of the model.
      density_at: callable that maps a noise level t, int32 [1], to its log density F: a callable that maps y,
        float32 [n, H, W, C], to F(y, t), float32 [n].
      config: the configuration of the model.
      split: 'train' or 'test'.
      limit: uses the first `limit` images; None: all.

    Returns:
      A dict with these entries for all N images, float64 [N] each, in nats:

      - 'F': F(y_0, 0), where y_0 is the noisy image, scaled to be the input of the network. It is the log
        density of y_0 plus log Z_0.
      - 'log_q': log density of the noisy image, given the grey levels of the clean image.
      - 'log_P': log probability of these grey levels, given the noisy image.

    Raises:
      UserError: the energy of an image is not finite.
    """
    data = config.data
    size = config.sampling.sample_batch_size
    total = min(pipeline.count_images(data, split), limit or math.inf)
    seed = noise.fold(noise.root(config.training.seed, noise.LIKELIHOOD), _IMAGES)
    log_density = bridges.within_wall(density_at(tf.zeros([1], tf.int32)))
    found = []
    count = 0
    for part in pictures.progress(pipeline.image_batches(data, split, limit), total, f'{split} images'):
        for first in range(0, len(part), size):
            grey = part[first : first + size]
            eps = noise.normal(seed, grey.shape, count)
            found.append(terms_of_images(schedule, log_density, grey, eps))
            count += len(grey)
    joined = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    if not np.isfinite(joined['F']).all():
        raise UserError(f'the energy of an image of the {split} split is not finite: use another checkpoint')
    return joined
