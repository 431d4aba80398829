"""What is summed where a model has classes: pairs of labels and weight, for the methods of
`RecoveryLikelihood`."""

import tensorflow as tf

UNCONDITIONAL = ((None, 1.0),)


def guided(labels, guidance=0.0):
    """Terms of classifier-free guidance, (1 + w) F(class) - w F(no class).

    Args:
      labels: classes, int32 [n] from 1 (0 is no class).
      guidance: w; 0 is the conditional model, -1 the unconditional one.

    Returns:
      Pairs of labels and weight, for the methods of `RecoveryLikelihood`; the weights sum to 1.
    """
    if isinstance(guidance, float) and guidance == 0:
        return ((labels, 1.0),)
    return ((labels, 1 + guidance), (tf.zeros_like(labels), -guidance))


def composed(labels, weights):
    """Terms of a product of experts, F(no class) + sum_i w_i (F(class i) - F(no class)).

    Args:
      labels: list of classes, each int32 [n] from 1.
      weights: list of w_i.

    Returns:
      As `guided`.
    """
    return (*zip(labels, weights, strict=True), (tf.zeros_like(labels[0]), 1 - sum(weights)))
