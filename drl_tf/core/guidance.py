"""Guidance and composition: pairs (labels, weight) whose energies a model with classes sums."""

import tensorflow as tf

UNCONDITIONAL = ((None, 1.0),)


def network_labels(classes):
    """How the networks number classes: class c from 0 is c + 1, and no class, -1, is 0.

    Args:
      classes: an int, array or tensor.

    Returns:
      Like `classes`.

    Examples:
      >>> network_labels(3)
      4
    """
    return classes + 1


def guided(labels, guidance=0.0):
    """Classifier-free guidance, (1 + w) F(class) - w F(no class) (CDRL, section 3.4).

    Args:
      labels: as `network_labels` gives them, int32 [n].
      guidance: w; 0 is the conditional model, -1 the unconditional one.

    Returns:
      Pairs (labels, weight) for the methods of `EnergyModel`; the weights sum to 1.

    Examples:
      >>> [(labels.numpy().tolist(), weight) for labels, weight in guided(tf.constant([4, 4]), 0.5)]
      [([4, 4], 1.5), ([0, 0], -0.5)]
    """
    if isinstance(guidance, float) and guidance == 0:
        return ((labels, 1.0),)
    return ((labels, 1 + guidance), (tf.zeros_like(labels), -guidance))


def composed(labels, weights):
    """A product of experts, F(no class) + sum_i w_i (F(class i) - F(no class)).

    Args:
      labels: list of classes, each as `network_labels` gives them, int32 [n].
      weights: list of w_i.

    Returns:
      As `guided`.

    Examples:
      >>> terms = composed([tf.constant([4]), tf.constant([9])], [1.0, 1.0])
      >>> [(labels.numpy().tolist(), weight) for labels, weight in terms]
      [([4], 1.0), ([9], 1.0), ([0], -1.0)]
    """
    return (*zip(labels, weights, strict=True), (tf.zeros_like(labels[0]), 1 - sum(weights)))
