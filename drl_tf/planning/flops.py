"""What a configuration costs: parameters, and floating-point operations counted in TensorFlow's own
graphs."""

import tensorflow as tf

from drl_tf.core.langevin import value_gradient


def cost(model):
    """Parameters and floating-point operations (a multiplication and an addition are two).

    Preparing the weights (spectral normalisation), which is done once a step for the whole batch, is not
    counted; the gradient of the initializer is counted as two of its evaluations, with `remat` as three.
    Sampling is counted without guidance, which doubles it.

    Args:
      model: a `RecoveryLikelihood`.

    Returns:
      {label: number}.
    """
    config = model.config
    network, none, options = model.network, tf.zeros([1], tf.int32), config.training
    matches_scores, remat = options.objective == 'dsm', options.remat
    prepared = network.prepare(tf.zeros([1]), none)
    weights = [tensor for tensor in tf.nest.flatten(prepared) if tensor is not None]

    def energy(y):
        return network(y, prepared)

    def chain_step(y):
        return value_gradient(energy, y)

    def learning(y):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = value_gradient(energy, y) if matches_scores else network(y, prepared, remat=remat)
        return tape.gradient(value, weights)

    def proposal(y):
        return model.initializer(y, tf.zeros([1]), none)

    functions = [energy, chain_step, learning, *([proposal] if config.diffusion.initializer else [])]
    energy_flops, chain_flops, learning_flops, *rest = (
        _count(function, config.image_shape) for function in functions
    )
    start_flops = sum(rest)
    steps, visited = [max(1, steps) for steps in config.steps_by_level], model.walk.levels
    gradients = sum(steps[level] for level in visited)
    per_image = (
        learning_flops
        if matches_scores
        else max(steps) * chain_flops + 2 * learning_flops + (3 + remat) * start_flops
    )
    return {
        'parameters': network.count_params(),
        'parameters of the initializer': model.initializer.count_params() if rest else 0,
        'FLOPs of one energy': energy_flops,
        'FLOPs of one Langevin step of an image': chain_flops,
        'FLOPs to sample an image': (gradients + config.diffusion.final_denoise) * chain_flops
        + len(visited) * start_flops,
        'FLOPs of a training step, per image': per_image,
        'FLOPs of a training step': per_image * options.batch_size,
    }


def _count(function, image_shape):
    """Floating-point operations of a function of one image, without the parts that its outputs do not
    need."""
    traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([1, *image_shape]))
    outputs = [output.op.name for output in traced.graph.outputs]
    needed = tf.compat.v1.graph_util.extract_sub_graph(traced.graph.as_graph_def(add_shapes=True), outputs)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options['output'] = 'none'
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(needed, name='')
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
