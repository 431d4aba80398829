"""The classifier score of generated images; with the logits of Inception, this is the Inception score."""

from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked


def classifier_score(logits: Any, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Computes the classifier score of generated images from the logits that a classifier gives them.

    The images are divided at random into splits. p(y|x) is the probability of class y for an image x, and
    p(y) its mean over the images of a split. The score of a split is exp E KL(p(y|x) || p(y)), where E is the
    mean over its images and KL the Kullback-Leibler divergence. See Salimans et al., "Improved Techniques
    for Training GANs", https://arxiv.org/abs/1606.03498, section 4.

    Args:
      logits: logits of C classes for N images, float [N, C], N at least `splits`.
      splits: number of splits.
      seed: seed of the random splits.

    Returns:
      Mean and standard deviation of the score over the splits; a score is in [1, C].

    Raises:
      UserError: the shape is wrong, a logit is not finite, or there are fewer images than splits.

    Examples:
      If the classifier is certain, and ten classes are equally frequent, the score is 10:

      >>> mean, deviation = classifier_score(np.tile(100 * np.eye(10), [4, 1]), splits=1)
      >>> round(mean, 3), deviation
      (10.0, 0.0)
    """
    logits = checked(logits, 'logits').astype(np.float64)
    if len(logits) < splits:
        raise UserError(f'{len(logits)} images are too few for the {splits} splits of a classifier score')
    logits = np.random.default_rng(seed).permutation(logits)
    # Keeps p(y) above 0 in float64, because the score takes the logarithm of p(y).
    logits = np.maximum(logits - logits.max(axis=1, keepdims=True), -700)
    score = tfgan.evaluation().classifier_score_from_logits
    scores = [float(score(tf.constant(part))) for part in np.array_split(logits, splits)]
    return float(np.mean(scores)), float(np.std(scores))
