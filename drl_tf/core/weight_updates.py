"""How a training step changes the weights: first the optimizer, then the averages."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# A network that learns, and the optimizer of this network.
Learner: TypeAlias = tuple[Any, Any]
# {name of a loss: (loss, gradients of the loss, one per trainable variable of the network that learns)}.
LossesAndGradients: TypeAlias = dict[str, tuple[tf.Tensor, list[tf.Tensor]]]


def no_gradients(learners: dict[str, Learner]) -> LossesAndGradients:
    """Returns a zero loss and zero gradients for each network, from which a sum over microbatches starts.

    Args:
      learners: {name of a loss: (network that the loss trains, its optimizer)}.

    Returns:
      {name of the loss: (0.0, gradients)}, with one tensor of zeros for each trainable variable of the
      network.
    """
    return {
        name: (0.0, [tf.zeros(variable.shape) for variable in network.trainable_variables])
        for name, (network, _) in learners.items()
    }


def gradients_of_slopes(tape: tf.GradientTape, loss: tf.Tensor, network: Any) -> list[tf.Tensor]:
    """Differentiates a loss that depends on derivatives of the energy, such as the loss of score matching.

    Args:
      tape: the gradient tape that recorded how the loss was computed.
      loss: the loss to differentiate, float32 [].
      network: the network to train.

    Returns:
      The gradients, one per trainable variable of `network`; zeros for a variable on which the loss does not
      depend.
    """
    weights = [variable.value for variable in network.trainable_variables]
    return tape.gradient(loss, weights, unconnected_gradients='zero')


def apply_summed(gradients: Sequence[tf.Tensor], network: Any, optimizer: Any, clip_norm: float) -> tf.Tensor:
    """Sums gradients over the replicas, clips the sum and takes an optimizer step.

    Args:
      gradients: the gradients of this replica, one per trainable variable of `network`.
      network: the network to train.
      optimizer: a `SummedAdam` that updates the variables of `network`.
      clip_norm: largest norm of the sum over all variables together; 0 for no clipping.

    Returns:
      The norm of the summed gradients over all variables together, before clipping, float32 [].
    """
    gradients = tf.distribute.get_replica_context().all_reduce('sum', gradients)
    norm = tf.linalg.global_norm(gradients)
    if clip_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, norm)
    optimizer.apply(gradients, network.trainable_variables)
    return norm


def move_averages(
    averages: Iterable[tuple[Any, Any]], step: tf.Tensor, ema_decay: float, sound: tf.Tensor
) -> None:
    """Moves the averaged weights towards the raw weights, after a training step.

    Each average becomes decay * average + (1 - decay) * weight, with decay = min(ema_decay, (1 + n) / (10 +
    n)) after n training steps. The vectors u, with which spectral normalisation estimates norms of kernels,
    are averaged too.

    Args:
      averages: pairs (network with averaged weights, network with raw weights).
      step: n, int [].
      ema_decay: largest decay, in [0, 1).
      sound: whether training is sound so far, bool []: all losses, gradients and weights were finite, and no
        loss exceeded the option `max_loss`. If False, the averages stay as they are.
    """
    n = tf.cast(step, tf.float32)
    decay = tf.minimum(ema_decay, (1 + n) / (10 + n))
    rate = 1 - decay
    for average_network, network in averages:
        for average, weight in zip(average_network.weights, network.weights, strict=True):
            old = tf.convert_to_tensor(average)
            average.assign(tf.where(sound, decay * old + rate * weight, old))
