"""What a configuration costs: parameters and floating-point operations, counted in TensorFlow's own graphs."""

import tensorflow as tf

from drl_tf.langevin import value_gradient
from drl_tf.model import RecoveryLikelihood


def cost(config):
    """Parameters and floating-point operations (a multiplication and an addition are two).

    Args:
      config: a `Config`.

    Returns:
      {label: number}.
    """
    model = RecoveryLikelihood(config)
    level = tf.zeros([1], tf.int32)
    image = tf.TensorSpec([1, *config.image_shape])
    weights = model.network.trainable_variables

    def energy(y):
        return model.network(y, model.network.prepare(level))

    def chain_step(y):
        return value_gradient(energy, y)

    def learning(y):
        with tf.GradientTape() as tape:
            value = energy(y)
        return tape.gradient(value, [weight.value for weight in weights])

    energy_flops, chain_flops, learning_flops = (_count(function, image) for function in (energy, chain_step, learning))
    per_image = config.diffusion.mcmc_steps * chain_flops + 2 * learning_flops
    return {
        'parameters': model.network.count_params(),
        'FLOPs of one energy': energy_flops,
        'FLOPs of one Langevin step of an image': chain_flops,
        'FLOPs to sample an image': config.diffusion.num_levels * config.diffusion.mcmc_steps * chain_flops,
        'FLOPs of a training step, per image': per_image,
        'FLOPs of a training step': per_image * config.training.batch_size,
    }


def _count(function, *specs):
    """Floating-point operations of a function, by TensorFlow's profiler."""
    graph = tf.function(function).get_concrete_function(*specs).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options['output'] = 'none'
    with graph.as_default():
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
