"""The kernel distance between two sets of features; with the features of Inception, this is KID."""

from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked_pair

_BLOCK_SIZE = 1000
_LEAST_BLOCKS = 10


def kernel_distance(real: Any, fake: Any, seed: int = 0) -> tuple[float, float]:
    """Estimates the kernel distance (KID) between the features of real and of generated images.

    It is the squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 of two features x and y of
    length d. Both sets of features are divided at random into the same number of blocks, with at most 1,000
    features each. There are at least 10 blocks; 7 to 10 if both sets have fewer than 100 features. Each pair
    of blocks gives an unbiased estimate. The result is the mean of these estimates, and the standard error of
    the mean. See Binkowski et al., "Demystifying MMD GANs", https://arxiv.org/abs/1801.01401, section 4.

    Args:
      real: features, float [N, d], N at least 20.
      fake: features, float [M, d], M at least 20.
      seed: seed of the random division into blocks.

    Returns:
      The estimate, which can be slightly negative, and its standard error.

    Raises:
      UserError: the shapes do not fit together, a feature is not finite, or a set is too small.

    Examples:
      >>> real = np.random.default_rng(0).normal(size=[100, 4])
      >>> distance, error = kernel_distance(real, real + 1)
      >>> distance > 3 * error > 0
      True
    """
    real, fake = checked_pair(real, fake, at_least=2 * _LEAST_BLOCKS)
    smaller, larger = sorted([len(real), len(fake)])
    blocks = min(max(_LEAST_BLOCKS, -(-larger // _BLOCK_SIZE)), smaller // 2)
    size = min(_BLOCK_SIZE, -(-larger // blocks))
    generator = np.random.default_rng(seed)
    real, fake = (
        tf.constant(generator.permutation(features)[: size * blocks], tf.float64) for features in (real, fake)
    )
    distance, error = tfgan.evaluation().kernel_classifier_distance_and_std_from_activations(
        real, fake, max_block_size=size
    )
    return float(distance), float(error)
