"""What a training step needs of a device's memory, predicted from TensorFlow's own graphs."""

import math

import numpy as np
import tensorflow as tf

from drl_tf.core.langevin import value_gradient

_IMAGES = 1009  # Batch of the traced graphs: no other dimension has this factor.
_FLOAT32 = 4
SUM = 'bytes of a device'
_FUSED = {
    'AddV2', 'BiasAdd', 'BroadcastTo', 'Cast', 'Const', 'ExpandDims', 'Fill', 'GreaterEqual', 'Identity',
    'IdentityN', 'LeakyRelu',
    'LeakyReluGrad', 'Mul', 'Neg', 'OnesLike', 'RealDiv', 'Relu', 'ReluGrad', 'Reshape', 'Rsqrt',
    'SelectV2', 'Sigmoid',
    'SigmoidGrad', 'Square', 'Squeeze', 'StatelessRandomUniformV2', 'Sub', 'Tile', 'ZerosLike',
}  # fmt: skip
_SIGN_ALONE = ('LeakyReluGrad', 'ReluGrad')
_SHAPE_ALONE = ('Shape', 'ShapeN', 'Size', 'Rank')


def needed(model, replicas=1):
    """Memory of a training step on one device, by part.

    All that XLA keeps is taken to live in HBM; the program itself, buffers of the all-reduce and
    fragmentation are not counted.

    Args:
      model: a `RecoveryLikelihood`, not compiled.
      replicas: devices that share a batch.

    Returns:
      {label: bytes}; the last is the sum.
    """
    config, options = model.config, model.config.training
    images = options.batch_size // replicas
    weights = [weight for _, network in model.averages for weight in network.weights]
    size, learning = (
        _FLOAT32 * sum(math.prod(w.shape) for w in ws)
        for ws in (weights, [w for w in weights if w.trainable])
    )
    per_image = _FLOAT32 * math.prod(config.image_shape)
    activations = activations_per_image(model)
    parts = {
        'weights': size,
        'averaged weights': size,
        'optimizer': 2 * learning,
        'gradients': learning * (1 if options.microbatches == 1 else 2),
        'activations of a microbatch': int(images // options.microbatches * activations),
        'images and chains': images * per_image + images // options.microbatches * 5 * per_image,
    }
    return {**{f'bytes of {name}': number for name, number in parts.items()}, SUM: sum(parts.values())}


def activations_per_image(model):
    """Bytes per image that a training step holds at once: for the chain, with what the initializer keeps
    meanwhile, or for the gradient.

    The contrastive loss has two states of each image, and the initializer learns before or after it;
    score matching has the gradient of a gradient of one, and no chain.
    """
    network, shape, options = model.network, model.config.image_shape, model.config.training
    remat = options.remat
    matches_scores = options.objective != 'contrastive'
    time, labels = _inputs()

    def learning(y):
        with tf.GradientTape() as tape:
            prepared = network.prepare(time, labels)
            f = (
                value_gradient(lambda y: network(y, prepared), y)
                if matches_scores
                else network(y, prepared, remat=remat)
            )
        return tape.gradient(f, network.trainable_variables)

    def proposing(x):
        with tf.GradientTape() as tape:
            g = model.initializer(x, time, labels, remat=remat)
        return tape.gradient(g, model.initializer.trainable_variables)

    if matches_scores:
        return peak(learning, shape)
    start = peak(proposing, shape) if model.config.diffusion.initializer else 0
    return max(start + chain_bytes_per_image(model), 2 * peak(learning, shape))


def chain_bytes_per_image(model):
    """Bytes per image that a Langevin step holds at once: what the gradient of the energy in the images
    takes."""

    def chain(y):
        prepared = model.network.prepare(*_inputs())
        return value_gradient(lambda y: model.network(y, prepared), y)

    return peak(chain, model.config.image_shape)


def _inputs():
    """Times and labels of the images that are traced."""
    return np.zeros([_IMAGES], np.float32), np.zeros([_IMAGES], np.int32)


def peak(function, image_shape):
    """Bytes per image of the tensors that are alive at once while a function of images runs as XLA would run
    it.

    Operations run in the order of the graph. Those that are fused into the ones that use them store nothing
    and keep what they are made of; where the sign of a tensor alone is needed, a byte for each number is kept
    where that is less for as long as it takes. Weights and their gradients do not count.

    Args:
      function: callable, images float32 [n, H, W, C] -> a structure of tensors.
      image_shape: (H, W, C).

    Returns:
      A float.
    """
    graph = (
        tf.function(function, autograph=False)
        .get_concrete_function(tf.TensorSpec([_IMAGES, *image_shape]))
        .graph
    )
    operations = _needed(graph, [tensor for tensor in graph.outputs if tensor is not None])
    ends, signs = _last_uses(operations)
    freed, alive, most = [0] * len(operations), 0, 0
    for time, operation in enumerate(operations):
        for tensor in operation.outputs:
            end, sign, size = ends.get(tensor.ref()), signs.get(tensor.ref(), 0), _bytes(tensor)
            if end is None or not size:
                continue
            bits = size // tensor.dtype.size
            if sign > end and bits * (sign - time) < size * (sign - end):
                alive += bits
                freed[sign] += bits
                sign = end
            alive += size
            freed[max(sign, end)] += size
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


def _last_uses(operations):
    """Index of the last operation that uses each stored tensor, and of the last that uses its sign alone,
    {reference: index}."""
    stored, ends, signs = {}, {}, {}
    for time, operation in enumerate(operations):
        sources = [stored[tensor.ref()] for tensor in operation.inputs]
        if operation.type in _SIGN_ALONE:
            signs.update(dict.fromkeys(sources.pop(), time))
        sources = set().union(*sources) if operation.type not in _SHAPE_ALONE else set()
        is_fused = _is_fused(operation)
        for tensor in operation.outputs:
            stored[tensor.ref()] = sources if is_fused else {tensor.ref()}
        if not is_fused:
            ends.update(dict.fromkeys(sources, time))
    return ends, signs


def _is_fused(operation):
    """Whether an operation stores nothing; the sum of two batches of feature maps does."""
    if operation.type not in _FUSED:
        return False
    return operation.type != 'AddV2' or len({tuple(tensor.shape) for tensor in operation.inputs}) > 1


def _bytes(tensor):
    """Size of a tensor of images; 0 of any other."""
    shape = tensor.shape
    is_of_images = shape.is_fully_defined() and shape.rank and shape[0] % _IMAGES == 0
    return shape.num_elements() * tensor.dtype.size if is_of_images else 0
