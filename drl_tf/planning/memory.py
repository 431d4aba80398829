"""Predicts the memory that a training step takes on a device, from TensorFlow graphs."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core.langevin import value_gradient
from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_IMAGES = 1009  # Batch size of the traced graphs: a prime, so that it divides no other dimension.
_FLOAT32 = 4
SUM = 'bytes of a device'
# Operations that XLA fuses into the operations that use them; so XLA does not store their results.
_FUSED = {
    'AddV2',
    'BiasAdd',
    'BroadcastTo',
    'Cast',
    'Const',
    'ExpandDims',
    'Fill',
    'GreaterEqual',
    'Identity',
    'IdentityN',
    'LeakyRelu',
    'LeakyReluGrad',
    'Mul',
    'Neg',
    'OnesLike',
    'RealDiv',
    'Relu',
    'ReluGrad',
    'Reshape',
    'Rsqrt',
    'SelectV2',
    'Sigmoid',
    'SigmoidGrad',
    'Square',
    'Squeeze',
    'StatelessRandomUniformV2',
    'Sub',
    'Tile',
    'ZerosLike',
}
_SIGN_ALONE = ('LeakyReluGrad', 'ReluGrad')
_SHAPE_ALONE = ('Shape', 'ShapeN', 'Size', 'Rank')


def needed(model: RecoveryLikelihood, replicas: int = 1) -> dict[str, int]:
    """Predicts the memory of a training step on one device.

    Not counted are the program itself, the buffers of the all-reduce, fragmentation, and what losses of
    heights hold.

    Args:
      model: the model; it need not be compiled.
      replicas: number of devices that share a batch.

    Returns:
      {label: bytes}, with labels such as 'bytes of weights' and 'bytes of gradients'. The last entry is the
      total; its label is the constant `SUM` of this module, 'bytes of a device'.
    """
    config = model.config
    options = config.training
    images = options.batch_size // replicas
    weights = [weight for _, network in model.averages for weight in network.weights]
    size = _size(weights)
    learning = _size(weight for weight in weights if weight.trainable)
    per_image = _FLOAT32 * math.prod(config.image_shape)
    activations = _activations_per_image(model)
    parts = {
        'weights': size,
        'averaged weights': size,
        'optimizer': 2 * learning,
        'gradients': learning * (1 if options.microbatches == 1 else 2),
        'activations of a microbatch': int(images // options.microbatches * activations),
        'images and chains': images * per_image + images // options.microbatches * 5 * per_image,
    }
    return {**{f'bytes of {name}': number for name, number in parts.items()}, SUM: sum(parts.values())}


def _size(weights: Iterable[Any]) -> int:
    """Returns the bytes of float32 variables."""
    return _FLOAT32 * sum(math.prod(weight.shape) for weight in weights)


def _activations_per_image(model: RecoveryLikelihood) -> float:
    """Predicts the largest number of bytes per training image that a training step stores in activations.

    With the contrastive loss, this is the maximum over two parts of the step: the Langevin chain with its
    initializer, and the gradient of the loss, which needs a real and a sampled image per training image. With
    score matching, it is the gradient of a gradient.
    """
    network = model.network
    shape = model.config.image_shape
    options = model.config.training
    time, labels = _inputs()

    def matching(y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            prepared = network.prepare(time, labels)
            slope = value_gradient(lambda y: network(y, prepared, remat=options.remat), y)
        return tape.gradient(slope, network.trainable_variables)

    def learning(y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            f = network(y, network.prepare(time, labels), remat=options.remat)
        return tape.gradient(f, network.trainable_variables)

    def proposing(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            g = model.initializer(x, time, labels, remat=options.remat)
        return tape.gradient(g, model.initializer.trainable_variables)

    of_scores = peak(matching, shape) if options.objective != 'contrastive' else 0
    if of_scores and not options.contrastive:
        return of_scores
    start = peak(proposing, shape) if model.config.diffusion.initializer else 0
    return max(of_scores, start + chain_bytes_per_image(model), 2 * peak(learning, shape))


def chain_bytes_per_image(model: RecoveryLikelihood) -> float:
    """Predicts the peak memory of a Langevin step of a model, in bytes per image."""

    def chain(y: tf.Tensor) -> tf.Tensor:
        prepared = model.network.prepare(*_inputs())
        return value_gradient(lambda y: model.network(y, prepared), y)

    return peak(chain, model.config.image_shape)


def _inputs() -> tuple[np.ndarray, np.ndarray]:
    """Returns time inputs and labels of the images with which functions are traced."""
    return np.zeros([_IMAGES], np.float32), np.zeros([_IMAGES], np.int32)


def peak(function: Callable[[tf.Tensor], Any], image_shape: tuple[int, ...]) -> float:
    """Predicts the peak memory of a function that XLA compiles, in bytes per image.

    The prediction assumes that operations run in the order of the graph, and that fused operations store
    nothing. It counts one byte per number for a tensor of which only the signs are needed later, such as the
    input of a ReLU for its gradient. Weights and their gradients do not count.

    Args:
      function: callable that maps images, float32 [n, H, W, C], to a tensor or a list of tensors. It is
        traced, but not run.
      image_shape: (H, W, C).
    """
    graph = (
        tf.function(function, autograph=False)
        .get_concrete_function(tf.TensorSpec([_IMAGES, *image_shape]))
        .graph
    )
    operations = _needed(graph, [tensor for tensor in graph.outputs if tensor is not None])
    ends, signs = _last_uses(operations)
    freed = [0] * len(operations)
    alive = 0
    most = 0
    for time, operation in enumerate(operations):
        for tensor in operation.outputs:
            end = ends.get(tensor.ref())
            sign = signs.get(tensor.ref(), 0)
            size = _bytes(tensor)
            if end is None or not size:
                continue
            signs_size = size // tensor.dtype.size
            if sign > end and signs_size * (sign - time) < size * (sign - end):
                alive += signs_size
                freed[sign] += signs_size
                sign = end
            alive += size
            freed[max(sign, end)] += size
        most = max(most, alive)
        alive -= freed[time]
    return most / _IMAGES


def _needed(graph: tf.Graph, outputs: list[tf.Tensor]) -> list[tf.Operation]:
    """Returns the operations that the outputs need, in order."""
    wanted = set()
    waiting = [tensor.op for tensor in outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in wanted:
            wanted.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return [operation for operation in graph.get_operations() if operation in wanted]


def _last_uses(operations: list[tf.Operation]) -> tuple[dict[Any, int], dict[Any, int]]:
    """Finds the last operation that uses each stored tensor, and the last that uses only the tensor's sign.

    Returns:
      Two dicts {reference of the tensor: index of the operation}.
    """
    stored: dict[Any, set[Any]] = {}
    ends: dict[Any, int] = {}
    signs: dict[Any, int] = {}
    for time, operation in enumerate(operations):
        inputs = [stored[tensor.ref()] for tensor in operation.inputs]
        if operation.type in _SIGN_ALONE:
            signs.update(dict.fromkeys(inputs.pop(), time))
        sources = set() if operation.type in _SHAPE_ALONE else set().union(*inputs)
        is_fused = _is_fused(operation)
        # tf.custom_gradient passes several tensors through one IdentityN: output i is input i.
        for index, tensor in enumerate(operation.outputs):
            of_tensor = inputs[index] if operation.type == 'IdentityN' else sources
            stored[tensor.ref()] = of_tensor if is_fused else {tensor.ref()}
        if not is_fused:
            ends.update(dict.fromkeys(sources, time))
    return ends, signs


def _is_fused(operation: tf.Operation) -> bool:
    """Returns whether XLA stores no result of an operation; it does store a sum of two feature maps."""
    if operation.type not in _FUSED:
        return False
    return operation.type != 'AddV2' or len({tuple(tensor.shape) for tensor in operation.inputs}) > 1


def _bytes(tensor: tf.Tensor) -> int:
    """Returns the number of bytes of a tensor that has a row for each image; 0 for any other tensor."""
    shape = tensor.shape
    is_of_images = shape.is_fully_defined() and shape.rank and shape[0] % _IMAGES == 0
    return shape.num_elements() * tensor.dtype.size if is_of_images else 0
