"""Saves memory: gradients that recompute activations instead of storing them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from drl_tf.core.noise import Dropout

_Function: TypeAlias = Callable[..., list[tf.Tensor]]


def recomputed(layer: keras.layers.Layer) -> Callable[..., tf.Tensor]:
    """Wraps a layer so that its derivatives recompute its activations (Chen et al. 2016, arXiv 1604.06174).

    This saves memory. In contrast to `tf.recompute_grad`, it also does so under XLA, and for second
    derivatives, which score matching needs.

    Args:
      layer: layer that takes (x, prepared, dropout) and returns a tensor. x: activations. prepared:
        weights, the result of the layer's `prepare`. dropout: a `noise.Dropout` or None.

    Returns:
      A callable with the same arguments, values and derivatives of every order as `layer`.
    """

    def run(x: tf.Tensor, prepared: Any, dropout: Dropout | None = None) -> tf.Tensor:
        leaves = tf.nest.flatten(prepared)
        ready = [leaf for leaf in leaves if leaf is not None]
        weights = layer.trainable_variables

        def compute(x: tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
            given = iter(tensors[: len(ready)])
            packed = [leaf if leaf is None else next(given) for leaf in leaves]
            values = zip(weights, tensors[len(ready) :], strict=True)
            with keras.StatelessScope(list(values)):
                return [layer(x, tf.nest.pack_sequence_as(prepared, packed), dropout=dropout)]

        values = [tf.convert_to_tensor(weight.value) for weight in weights]
        return _recomputing(compute, [[x], ready, values])[0]

    return run


def _recomputing(
    function: _Function, groups: Sequence[Sequence[tf.Tensor]], result: Sequence[tf.Tensor] | None = None
) -> list[tf.Tensor]:
    """Returns function(*inputs), whose derivatives of every order compute the function again.

    Args:
      function: callable that maps tensors to a list of tensors.
      groups: its arguments, in groups. Differentiating a slope again takes time only for the group of this
        slope.
      result: the value of the function, if it is known.
    """
    ends = itertools.accumulate(map(len, groups), initial=0)
    parts = [slice(begin, end) for begin, end in itertools.pairwise(ends) if begin < end]

    @tf.custom_gradient
    def with_gradient(*inputs: tf.Tensor) -> tuple[Sequence[tf.Tensor], Any]:
        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            again = _after(upstream, inputs)

            def slopes(*tensors: tf.Tensor) -> list[tf.Tensor]:
                at, above = tensors[: len(inputs)], tensors[len(inputs) :]
                with tf.GradientTape() as tape:
                    tape.watch(at)
                    found = function(*at)
                return tape.gradient(found, at, above, unconnected_gradients='zero')

            found = slopes(*again, *upstream)
            if result is not None:
                # Else XLA postpones the slopes of weights, and keeps the activations that they need.
                found = _after(found, found)

            def of_group(part: slice) -> list[tf.Tensor]:
                return _recomputing(lambda *tensors: slopes(*tensors)[part], [again, upstream], found[part])

            return [slope for part in parts for slope in of_group(part)]

        return function(*inputs) if result is None else result, gradient

    return list(with_gradient(*itertools.chain(*groups)))


def _after(tensors: Sequence[tf.Tensor], others: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns `others` unchanged, but dependent on `tensors`, so that XLA computes all `tensors` first.

    It adds the sum of min(|a|, 0) = 0, where a is an element of each of `tensors`.
    """
    elements = [
        tf.reshape(tf.slice(each, [0] * each.shape.rank, [1] * each.shape.rank), []) for each in tensors
    ]
    nothing = tf.add_n([tf.minimum(tf.abs(tf.cast(element, tf.float32)), 0) for element in elements])
    return [other + tf.cast(tf.stop_gradient(nothing), other.dtype) for other in others]
