"""What a step or a sampler needs of a device's memory, predicted from TensorFlow's own graphs."""

import tensorflow as tf

_IMAGES = 7  # Batch of the traced graphs: a size that no other dimension has.
_FUSED = {
    'AddV2', 'BiasAdd', 'BiasAddGrad', 'BroadcastTo', 'Cast', 'Const', 'ExpandDims', 'Fill', 'GreaterEqual', 'Identity', 'LeakyRelu',
    'LeakyReluGrad', 'Mul', 'Neg', 'OnesLike', 'RealDiv', 'Relu', 'ReluGrad', 'Reshape', 'Rsqrt', 'SelectV2', 'Sigmoid', 'SigmoidGrad',
    'Sub', 'Tile', 'ZerosLike',
}  # fmt: skip


def peak(function, image_shape):
    """Bytes per image of the tensors that are alive at once while a function of images runs.

    Operations run in the order of the graph. Those that XLA fuses into the ones that use them store nothing and keep what they are
    made of; a sum of two tensors of images is stored. Weights and their gradients are not counted.

    Args:
      function: callable, images float32 [n, H, W, C] -> a structure of tensors.
      image_shape: (H, W, C).

    Returns:
      A float.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([_IMAGES, *image_shape])).graph
    outputs = [tensor for tensor in graph.outputs if tensor is not None]
    operations = _needed(graph, outputs)
    stored, last_use = {}, {}
    for time, operation in enumerate(operations):
        sources = set().union(*(stored[tensor.ref()] for tensor in operation.inputs))
        for tensor in operation.outputs:
            stored[tensor.ref()] = sources if _is_fused(operation) else {tensor.ref()}
        if not _is_fused(operation):
            last_use.update(dict.fromkeys(sources, time))
    last_use.update(dict.fromkeys(set().union(*(stored[tensor.ref()] for tensor in outputs)), len(operations)))
    alive = most = 0
    freed = [0] * (len(operations) + 1)
    for time, operation in enumerate(operations):
        for tensor in operation.outputs:
            if tensor.ref() in last_use and stored[tensor.ref()] == {tensor.ref()}:
                alive += _bytes(tensor)
                freed[last_use[tensor.ref()]] += _bytes(tensor)
        most = max(most, alive)
        alive -= freed[time]
    return most / _IMAGES


def _needed(graph, outputs):
    """The operations that the outputs need, in order."""
    wanted, waiting = set(), [tensor.op for tensor in outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in wanted:
            wanted.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return [operation for operation in graph.get_operations() if operation in wanted]


def _is_fused(operation):
    """Whether an operation stores nothing; the sum of two batches of feature maps does."""
    if operation.type not in _FUSED:
        return False
    return operation.type != 'AddV2' or len({tuple(tensor.shape) for tensor in operation.inputs}) > 1


def _bytes(tensor):
    """Size of a tensor of images; 0 of any other."""
    shape = tensor.shape
    is_of_images = shape.rank and shape.is_fully_defined() and shape[0] in (_IMAGES, 2 * _IMAGES)
    return shape.num_elements() * tensor.dtype.size if is_of_images else 0
