"""Guidance and composition of classes: weighted sums of log densities, written as (labels, weight) pairs."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
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


def classes_of(labels: Any) -> Any:
    """Maps labels of the networks back to classes; the inverse of `network_labels`.

    Args:
      labels: class + 1, or 0 for no class: an int, array or tensor.

    Returns:
      Class numbers from 0, or -1 for no class, of the type and shape of `labels`.

    Examples:
      >>> classes_of(4)
      3
    """
    return labels - 1


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


def fed(terms: Terms) -> Terms:
    """Makes tensors of the weights, so that one graph serves all weights.

    Args:
      terms: (labels, weight) pairs, whose weights may be Python numbers.

    Returns:
      The pairs with weights as float32 [].

    Examples:
      >>> [weight.numpy().item() for _, weight in fed(guided(tf.constant([4]), 0.5))]
      [1.5, -0.5]
    """
    return tuple((labels, tf.constant(weight, tf.float32)) for labels, weight in terms)


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


def between_classes(
    classes: Sequence[int] | np.ndarray | None, position: tf.Tensor, guidance: float | tf.Tensor = 0.0
) -> Terms:
    """Moves from one class to another: the weighted mean (1 - position) F(first) + position F(second).

    F is the log density of noisy images of a class, with guidance, up to a constant.

    Args:
      classes: the two class numbers from 0, or -1 for no class; None if the model has no classes.
      position: 0 (the first class) to 1 (the second) of each image, float32 [n].
      guidance: the weight w of `guided`.

    Returns:
      The mean as (labels, weight) pairs, the argument `terms` of the methods of `EnergyModel`.

    Examples:
      >>> terms = between_classes([3, 8], tf.constant([0.25]))
      >>> [(labels.numpy().tolist(), weight.numpy().tolist()) for labels, weight in terms]
      [([4], [0.75]), ([9], [0.25])]
    """
    if classes is None:
        return UNCONDITIONAL
    begin, end = (guided(tf.fill(tf.shape(position), network_labels(each)), guidance) for each in classes)
    if classes[0] == classes[1]:
        return begin
    return (
        *((labels, weight * (1 - position)) for labels, weight in begin),
        *((labels, weight * position) for labels, weight in end),
    )
