"""Finds the convolutions of a graph and runs only them: a lower bound of the time that the graph takes."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

_FORWARD = 'Conv2D'
_INPUT_GRADIENT = 'Conv2DBackpropInput'
_FILTER_GRADIENT = 'Conv2DBackpropFilter'
KINDS = {_FORWARD: 'forward', _INPUT_GRADIENT: 'input gradient', _FILTER_GRADIENT: 'filter gradient'}


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution to time, or the gradient of a convolution with respect to its input or its filter.

    For a gradient, the shapes are those of the convolution itself.

    Attributes:
      operation: name of the TensorFlow operation, a key of `KINDS`.
      image: shape of the input of the convolution, (N, H, W, in).
      window: shape of the filter, (height, width, in, out).
      output: shape of the output of the convolution, (N, H', W', out).
      strides: strides, one per axis.
      padding: 'SAME' or 'VALID'.
      dtype: name of the dtype.
    """

    operation: str
    image: tuple[int, ...]
    window: tuple[int, ...]
    output: tuple[int, ...]
    strides: tuple[int, ...]
    padding: str
    dtype: str

    @property
    def flops(self) -> int:
        """Number of floating-point operations; a multiplication and an addition are two."""
        return 2 * math.prod(self.output) * math.prod(self.window[:3])

    def run(self, image: tf.Tensor, window: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Runs the convolution or gradient on given tensors, and returns the result.

        Args:
          image: input of the convolution, of shape `self.image`; ignored if the operation is the gradient
            with respect to the input.
          window: filter of the convolution, of shape `self.window`; ignored if the operation is the gradient
            with respect to the filter.
          output: gradient of a loss with respect to the output, of shape `self.output`; ignored if the
            operation is the convolution itself.
        """
        options = {'strides': list(self.strides), 'padding': self.padding}
        if self.operation == _FORWARD:
            return tf.raw_ops.Conv2D(input=image, filter=window, **options)
        if self.operation == _INPUT_GRADIENT:
            return tf.raw_ops.Conv2DBackpropInput(
                input_sizes=list(self.image), filter=window, out_backprop=output, **options
            )
        return tf.raw_ops.Conv2DBackpropFilter(
            input=image, filter_sizes=list(self.window), out_backprop=output, **options
        )


def of_graph(function: Any, *inputs: Any) -> list[Convolution]:
    """Returns the convolutions that a `tf.function` runs to compute its results, except those inside loops.

    Args:
      function: the `tf.function`; it is traced, and not run.
      inputs: arguments of the function, tensors of known shapes.

    Examples:
      >>> window = tf.ones([3, 3, 1, 2])
      >>> blur = tf.function(lambda x: tf.nn.conv2d(x, window, 1, 'SAME'))
      >>> [found.flops for found in of_graph(blur, tf.ones([1, 4, 4, 1]))]
      [576]
    """
    graph = function.get_concrete_function(*inputs).graph
    needed = set()
    waiting = {tensor.op for tensor in graph.outputs} | set(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        needed.add(operation)
        used = {tensor.op for tensor in operation.inputs} | set(operation.control_inputs)
        waiting |= used - needed
    return [_described(each) for each in graph.get_operations() if each in needed and each.type in KINDS]


def _described(operation: Any) -> Convolution:
    result = operation.outputs[0]
    tensors = list(operation.inputs)
    image, window, output = {
        _FORWARD: lambda: (*tensors, result),
        _INPUT_GRADIENT: lambda: (result, *tensors[1:]),
        _FILTER_GRADIENT: lambda: (tensors[0], result, tensors[2]),
    }[operation.type]()
    return Convolution(
        operation=operation.type,
        image=tuple(image.shape.as_list()),
        window=tuple(window.shape.as_list()),
        output=tuple(output.shape.as_list()),
        strides=tuple(operation.get_attr('strides')),
        padding=operation.get_attr('padding').decode(),
        dtype=result.dtype.name,
    )


def flops(found: Sequence[Convolution]) -> int:
    """Returns the number of floating-point operations of several convolutions together."""
    return sum(each.flops for each in found)


def counted(found: Sequence[Convolution]) -> dict[str, int]:
    """Counts convolutions by kind, {'forward': .., 'input gradient': .., 'filter gradient': ..}."""
    counts = collections.Counter(KINDS[each.operation] for each in found)
    return {kind: counts[kind] for kind in KINDS.values()}


def alone(found: Sequence[Convolution], repeats: int = 1, num_parts: int = 1) -> Callable[[], float]:
    """Returns a function without arguments that runs convolutions one after another on noise, to be timed.

    The function returns when all convolutions have run; the number that it returns has no meaning.

    Args:
      found: the convolutions.
      repeats: how often to run all of them.
      num_parts: number of equal parts into which `found` is split. The parts run at the same time; the
        convolutions of a part run one after another.

    Examples:
      >>> shapes = (1, 4, 4, 1), (3, 3, 1, 2), (1, 4, 4, 2)
      >>> one = Convolution('Conv2D', *shapes, (1, 1, 1, 1), 'SAME', 'float32')
      >>> isinstance(alone([one])(), float)
      True
    """
    shared: dict[tuple[Any, ...], tf.Tensor] = {}

    def noise(shape: tuple[int, ...], dtype: str, number: int) -> tf.Tensor:
        key = (shape, dtype, number)
        if key not in shared:
            shared[key] = tf.cast(0.1 * tf.random.stateless_normal(shape, [number, 0]), dtype)
        return shared[key]

    inputs = [
        (
            noise(each.image, each.dtype, 0),
            noise(each.window, each.dtype, number),
            noise(each.output, each.dtype, number if each.operation == _FILTER_GRADIENT else 0),
        )
        for number, each in enumerate(found)
    ]

    @tf.function(autograph=False)
    def run(inputs: Any) -> tf.Tensor:
        def once(k: tf.Tensor, totals: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            totals = list(totals)
            for number, (each, tensors) in enumerate(zip(found, inputs, strict=True)):
                part = number * num_parts // len(found)
                with tf.control_dependencies([totals[part]]):  # Runs those of a part one after another.
                    totals[part] = totals[part] + tf.cast(each.run(*tensors)[0, 0, 0, 0], tf.float32)
            return k + 1, totals

        state = (0, [0.0] * num_parts)
        return tf.add_n(tf.while_loop(lambda k, _: k < repeats, once, state, parallel_iterations=1)[1])

    return lambda: float(run(inputs))
