"""The classifier score (Inception score, where the classifier is Inception) of generated images."""

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import tfgan
from drl_tf.evaluation.metrics.features import checked


def classifier_score(logits, splits=10, seed=0):
    """exp E KL(p(y|x) || p(y)), p(y) being the mean of p(y|x), in float64, by tensorflow-gan: mean and
    deviation over splits.

    The images are split at random, so that a set sorted by class has the score that it has in any other
    order. See Salimans et al., "Improved Techniques for Training GANs", https://arxiv.org/abs/1606.03498,
    section 4.

    Args:
      logits: of the classifier on generated images, float [N, C], N at least `splits`.
      splits: into how many parts, of sizes that differ by 1 at most, the images are split, int.
      seed: of the split, int.

    Returns:
      Mean over the splits and its population standard deviation, two floats; a score is in [1, C].

    Raises:
      UserError: the shape is wrong, a logit is not finite, or there are fewer images than splits.
    """
    logits = checked(logits, 'logits').astype(np.float64)
    if len(logits) < splits:
        raise UserError(f'{len(logits)} images are too few for the {splits} splits of a classifier score')
    logits = np.random.default_rng(seed).permutation(logits)
    logits = np.maximum(
        logits - logits.max(axis=1, keepdims=True), -700
    )  # p(y) > 0 in float64, since its logarithm is taken
    score = tfgan.evaluation().classifier_score_from_logits
    scores = [float(score(tf.constant(part))) for part in np.array_split(logits, splits)]
    return float(np.mean(scores)), float(np.std(scores))
