"""How a training step changes the weights: first the optimizer, then the averages."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# (network, its optimizer), and {name of a loss: (loss, gradients in the weights of its network)}.
Learner: TypeAlias = tuple[Any, Any]
LossesAndGradients: TypeAlias = dict[str, tuple[tf.Tensor, list[tf.Tensor]]]


def no_gradients(learners: dict[str, Learner]) -> LossesAndGradients:
    """Returns zero accumulators of losses and gradients, given the learner of each loss."""
    return {
        name: (0.0, [tf.zeros(variable.shape) for variable in network.trainable_variables])
        for name, (network, _) in learners.items()
    }


def gradients_of_slopes(tape: tf.GradientTape, loss: tf.Tensor, network: Any) -> list[tf.Tensor]:
    """Returns the gradients of a loss of derivatives of the energy, one per trainable variable of `network`.

    The gradient of a bias that only adds a constant to the energy is zero.
    """
    weights = [variable.value for variable in network.trainable_variables]
    return tape.gradient(loss, weights, unconnected_gradients='zero')


def apply_summed(gradients: Sequence[tf.Tensor], network: Any, optimizer: Any, clip_norm: float) -> tf.Tensor:
    """Sums gradients over the replicas, clips the sum and takes an optimizer step.

    Args:
      gradients: those of this replica, one per trainable variable of `network`.
      network: the network to train.
      optimizer: a `SummedAdam` of its variables.
      clip_norm: largest global norm; 0 for no clipping.

    Returns:
      The global norm of the sum before clipping, float32 [].
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
    """Moves averaged weights, u included, towards the raw ones: decay = min(ema_decay, (1 + n) / (10 + n)).

    Args:
      averages: pairs of networks; the first has averaged weights.
      step: n, the number of steps taken.
      ema_decay: largest decay.
      sound: bool []; if False, the averages stay.
    """
    n = tf.cast(step, tf.float32)
    decay = tf.minimum(ema_decay, (1 + n) / (10 + n))
    rate = 1 - decay
    for average_network, network in averages:
        for average, weight in zip(average_network.weights, network.weights, strict=True):
            old = tf.convert_to_tensor(average)
            average.assign(tf.where(sound, decay * old + rate * weight, old))
