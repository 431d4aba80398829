"""The kernel distance (KID, where the features are Inception's) between two sets of features."""

import numpy as np
import tensorflow as tf

from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked_pair

_BLOCK_SIZE = 1000
_LEAST_BLOCKS = 10


def kernel_distance(real, fake, seed=0):
    """Unbiased estimate of the squared maximum mean discrepancy with the kernel k(x, y) = (x.y / d + 1)^3, in
    float64.

    The mean over blocks of at most 1,000 features of either set, which tensorflow-gan computes. There are at
    least 10 blocks, so that their standard error can be told; a set so much larger than the other that blocks
    would be left with less than 2 of the smaller is used in part. See Binkowski et al., "Demystifying MMD
    GANs", https://arxiv.org/abs/1801.01401, section 4.

    Args:
      real: features, float [N, d], N at least 20.
      fake: features, float [M, d], M at least 20.
      seed: of the order in which features fall into blocks, int.

    Returns:
      The estimate, a float that is negative by chance where there is no distance; and its standard error, a
      float.

    Raises:
      UserError: the shapes do not go together, a feature is not finite, or a set is too small.
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
