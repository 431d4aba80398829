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
    config, options = model.config, model.config.training
    energy, chain, learning, start = _of_one_image(model)
    proposes = config.diffusion.proposal == 'tweedie'  # By a gradient.
    steps = [count + 1 if proposes else max(1, count) for count in config.steps_by_level]
    gradients = sum(steps[level] for level in model.walk.levels)
    training = max(steps) * chain + 2 * learning + (3 + options.remat) * start
    per_image = training if options.objective == 'contrastive' else learning
    sampling = (gradients + config.diffusion.final_denoise) * chain + len(model.walk.levels) * start
    return {
        'parameters': model.network.count_params(),
        'parameters of the initializer': model.initializer.count_params() if start else 0,
        'FLOPs of one energy': energy,
        'FLOPs of one Langevin step of an image': chain,
        'FLOPs to sample an image': sampling,
        'FLOPs of a training step, per image': per_image,
        'FLOPs of a training step': per_image * options.batch_size,
    }


def _of_one_image(model):
    """FLOPs of an energy, of its gradient in the image, of the gradient in the weights that learning takes,
    and of the initializer (0 without)."""
    network, none, options = model.network, tf.zeros([1], tf.int32), model.config.training
    prepared = network.prepare(tf.zeros([1]), none)
    weights = [tensor for tensor in tf.nest.flatten(prepared) if tensor is not None]

    def energy(y):
        return network(y, prepared)

    def chain_step(y):
        return value_gradient(energy, y)

    def learning(y):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            matches_scores = options.objective != 'contrastive'
            value = chain_step(y) if matches_scores else network(y, prepared, remat=options.remat)
        return tape.gradient(value, weights)

    def proposal(y):
        return model.initializer(y, tf.zeros([1]), none)

    shape, proposes = model.config.image_shape, model.config.diffusion.initializer
    counts = [_count(function, shape) for function in (energy, chain_step, learning)]
    return (*counts, _count(proposal, shape) if proposes else 0)


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
