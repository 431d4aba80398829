"""Saves memory: gradients that recompute activations instead of storing them."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from drl_tf.core.noise import Dropout


def recomputed(layer: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Wraps a layer so that its gradient recomputes its activations (Chen et al. 2016, arXiv 1604.06174).

    This saves memory. In contrast to `tf.recompute_grad`, it also does so under XLA.

    Args:
      layer: callable that takes (x, prepared, dropout) and returns a tensor. x: activations. prepared:
        weights, the result of the layer's `prepare`. dropout: a `noise.Dropout` or None.

    Returns:
      A callable with the same arguments, values and first derivatives as `layer`. It has no second
      derivatives.
    """

    def run(x: tf.Tensor, prepared: Any, dropout: Dropout | None = None) -> tf.Tensor:
        leaves = tf.nest.flatten(prepared)

        def compute(x: tf.Tensor, *tensors: tf.Tensor) -> tf.Tensor:
            given = iter(tensors)
            packed = [leaf if leaf is None else next(given) for leaf in leaves]
            return layer(x, tf.nest.pack_sequence_as(prepared, packed), dropout=dropout)

        @tf.custom_gradient
        def with_gradient(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
            def gradient(upstream: tf.Tensor, variables: Sequence[Any] = ()) -> Any:
                again = _after(upstream, inputs)
                with tf.GradientTape() as tape:
                    tape.watch(again)
                    y = compute(*again)
                return tape.gradient(y, [again, list(variables)], upstream, unconnected_gradients='zero')

            return compute(*inputs), gradient

        return with_gradient(x, *(leaf for leaf in leaves if leaf is not None))

    return run


def _after(tensor: tf.Tensor, others: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns `others` unchanged, but dependent on `tensor`, so that XLA computes `tensor` first.

    It adds min(|a|, 0) = 0, where a is an element of `tensor`.
    """
    rank = tensor.shape.rank
    one = tf.reshape(tf.slice(tensor, [0] * rank, [1] * rank), [])
    nothing = tf.minimum(tf.abs(one), 0)
    return [other + tf.cast(nothing, other.dtype) for other in others]
