"""Guidance and composition of classes: weighted sums of log densities, written as (labels, weight) pairs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# (labels, weight) pairs; labels are int32 [n], or None for no class.
Terms: TypeAlias = Sequence[tuple[tf.Tensor | None, float | tf.Tensor]]
UNCONDITIONAL: Terms = ((None, 1.0),)


def network_labels(classes: Any) -> Any:
    """Maps classes to the labels that the networks take: class c becomes c + 1, and -1 (no class) becomes 0.

    Args:
      classes: class numbers from 0, or -1 for no class: an int, array or tensor.

    Returns:
      The labels, of the type and shape of `classes`.

    Examples:
      >>> network_labels(3)
      4
    """
    return classes + 1


def guided(labels: tf.Tensor, guidance: float | tf.Tensor = 0.0) -> Terms:
    """Classifier-free guidance: the weighted sum (1 + w) F(class) - w F(no class) (CDRL, section 3.4).

    F(class) is the log density of noisy images of a class, and F(no class) that of all images, both up to a
    constant.

    Args:
      labels: class + 1 of each image, int32 [n].
      guidance: the weight w. 0 gives F(class), -1 gives F(no class).

    Returns:
      The sum as (labels, weight) pairs, the argument `terms` of the methods of `EnergyModel`. The weights sum
      to 1.

    Examples:
      >>> [(labels.numpy().tolist(), weight) for labels, weight in guided(tf.constant([4, 4]), 0.5)]
      [([4, 4], 1.5), ([0, 0], -0.5)]
    """
    if isinstance(guidance, float) and guidance == 0:
        return ((labels, 1.0),)
    return ((labels, 1 + guidance), (tf.zeros_like(labels), -guidance))


def composed(labels: Sequence[tf.Tensor], weights: Sequence[float]) -> Terms:
    """Combines classes as a product of experts: F(no class) + sum_i w_i (F(class i) - F(no class)).

    F(class i) is the log density of noisy images of class i, and F(no class) that of all images, both up to a
    constant.

    Args:
      labels: for each class i, a tensor int32 [n] that holds class + 1 for each of n images.
      weights: the weight w_i of each class.

    Returns:
      The sum as (labels, weight) pairs, the argument `terms` of the methods of `EnergyModel`. The weights sum
      to 1.

    Examples:
      >>> terms = composed([tf.constant([4]), tf.constant([9])], [1.0, 1.0])
      >>> [(labels.numpy().tolist(), weight) for labels, weight in terms]
      [([4], 1.0), ([9], 1.0), ([0], -1.0)]
    """
    return (*zip(labels, weights, strict=True), (tf.zeros_like(labels[0]), 1 - sum(weights)))
