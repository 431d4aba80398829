"""Guidance and composition: pairs (labels, weight) whose weighted energies are summed."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# (labels, weight) pairs; labels are int32 [n], or None for no class.
Terms: TypeAlias = Sequence[tuple[tf.Tensor | None, float | tf.Tensor]]
UNCONDITIONAL: Terms = ((None, 1.0),)


def network_labels(classes: Any) -> Any:
    """Maps classes to the labels of the networks: class c from 0 to c + 1, and -1 (no class) to 0.

    Args:
      classes: an int, array or tensor.

    Returns:
      Like `classes`.

    Examples:
      >>> network_labels(3)
      4
    """
    return classes + 1


def guided(labels: tf.Tensor, guidance: float | tf.Tensor = 0.0) -> Terms:
    """Classifier-free guidance: (1 + w) F(class) - w F(no class) (CDRL, section 3.4).

    Args:
      labels: as `network_labels` returns them, int32 [n].
      guidance: w; 0 is the conditional model, -1 the unconditional one.

    Returns:
      (labels, weight) pairs for the methods of `EnergyModel`; the weights sum to 1.

    Examples:
      >>> [(labels.numpy().tolist(), weight) for labels, weight in guided(tf.constant([4, 4]), 0.5)]
      [([4, 4], 1.5), ([0, 0], -0.5)]
    """
    if isinstance(guidance, float) and guidance == 0:
        return ((labels, 1.0),)
    return ((labels, 1 + guidance), (tf.zeros_like(labels), -guidance))


def composed(labels: Sequence[tf.Tensor], weights: Sequence[float]) -> Terms:
    """Product of experts: F(no class) + sum_i w_i (F(class i) - F(no class)).

    Args:
      labels: one element per expert, each as `network_labels` returns it, int32 [n].
      weights: w_i of each expert.

    Returns:
      As `guided`.

    Examples:
      >>> terms = composed([tf.constant([4]), tf.constant([9])], [1.0, 1.0])
      >>> [(labels.numpy().tolist(), weight) for labels, weight in terms]
      [([4], 1.0), ([9], 1.0), ([0], -1.0)]
    """
    return (*zip(labels, weights, strict=True), (tf.zeros_like(labels[0]), 1 - sum(weights)))
