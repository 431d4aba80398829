"""Counts the parameters of a model, and the floating-point operations in its TensorFlow graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from drl_tf.core import correctors, diffusion
from drl_tf.core.langevin import value_gradient

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.diffusion import Schedule
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood


def cost(model: RecoveryLikelihood) -> dict[str, int]:
    """Counts the parameters of a model, and the floating-point operations (FLOPs) to train and to sample.

    A multiplication and an addition count as two operations. Spectral normalisation and losses
    of heights, such as --recovery_nce, are not counted. Sampling has the guidance of the configuration.

    Returns:
      {label: number}, with labels such as 'parameters', 'FLOPs to sample an image' and 'FLOPs of a training
      step'.
    """
    config = model.config
    options = config.training
    energy, chain, start = _of_one_image(model)
    per_image = 0
    if options.objective != 'contrastive':
        per_image += _of_learning(model, matches_scores=True)
    if options.objective == 'contrastive' or options.contrastive:
        learning = _of_learning(model, matches_scores=False)
        corrector = 'langevin' if config.negatives == 'none' else config.negatives
        per_image += max(_gradients(config, corrector, config.steps_by_level)) * chain + 2 * learning
        per_image += (3 + options.remat) * start
    sampling = gradients(config) * chain + len(model.walk.levels) * start
    return {
        'parameters': model.network.count_params(),
        'parameters of the initializer': model.initializer.count_params() if start else 0,
        'FLOPs of one energy': energy,
        'FLOPs of one Langevin step of an image': chain,
        'gradients to sample an image': gradients(config),
        'FLOPs to sample an image': sampling,
        'FLOPs of a training step, per image': per_image,
        'FLOPs of a training step': per_image * options.batch_size,
    }


def gradients(config: Config) -> int:
    """Returns how often the gradient of an energy is computed to sample one image.

    Guidance doubles the number, because it computes two energies: with and without a class. The pilot run,
    which finds step sizes, is not counted.

    Args:
      config: the configuration to sample with.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> gradients(Config()), gradients(Config().replace(sampling_steps=(5,)))
      (180, 30)
      >>> gradients(Config().replace(num_classes=10, guidance=0.5))
      360
    """
    by_level = _gradients(config, config.corrector, config.sampling_steps_by_level)
    energies = 2 if config.sampling.guidance else 1
    return energies * (sum(by_level[level] for level in walk(config).levels) + config.diffusion.final_denoise)


def walk(config: Config) -> Schedule:
    """Returns the noise levels that sampling visits, as a `Schedule`, without building a model.

    Args:
      config: the configuration; its option `sampling_levels` is the number of levels to visit, 0: all.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> walk(Config()).num_levels
      6
    """
    return diffusion.chosen(config.diffusion).strided(config.sampling.sampling_levels)


def _gradients(config: Config, corrector: str, steps: Sequence[int]) -> list[int]:
    """Returns the number of gradients at each trained level, of proposal and chain; K by level is `steps`."""
    chains = [correctors.gradients(corrector, num_steps) for num_steps in steps]
    if config.diffusion.proposal == 'tweedie':
        return [1 + count for count in chains]
    return [max(1, count) for count in chains]  # The normal approximation costs one gradient.


def _of_one_image(model: RecoveryLikelihood) -> tuple[int, int, int]:
    """Returns the FLOPs of three computations for one image.

    The three are: the energy; the gradient of the energy in the image; and the initializer (0 if the model
    has none).
    """
    network = model.network
    no_class = tf.zeros([1], tf.int32)
    prepared = network.prepare(tf.zeros([1]), no_class)

    def energy(y: tf.Tensor) -> tf.Tensor:
        return network(y, prepared)

    def chain_step(y: tf.Tensor) -> tf.Tensor:
        return value_gradient(energy, y)

    def proposal(y: tf.Tensor) -> tf.Tensor:
        return model.initializer(y, tf.zeros([1]), no_class)

    shape = model.config.image_shape
    start = _count(proposal, shape) if model.config.diffusion.initializer else 0
    return _count(energy, shape), _count(chain_step, shape), start


def _of_learning(model: RecoveryLikelihood, matches_scores: bool) -> int:
    """Returns the FLOPs of the gradient in the weights, for one image.

    With `matches_scores`, it is the gradient of the energy's slope (score matching), else of the energy.
    """
    network = model.network
    remat = model.config.training.remat
    prepared = network.prepare(tf.zeros([1]), tf.zeros([1], tf.int32))
    weights = [tensor for tensor in tf.nest.flatten(prepared) if tensor is not None]
    weights += [variable.value for variable in network.trainable_variables]

    def energy(y: tf.Tensor) -> tf.Tensor:
        return network(y, prepared, remat=remat)

    def learning(y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = value_gradient(energy, y) if matches_scores else energy(y)
        return tape.gradient(value, weights)

    return _count(learning, model.config.image_shape)


def _count(function: Callable[[tf.Tensor], object], image_shape: tuple[int, ...]) -> int:
    """Counts the floating-point operations that the outputs of a function of one image need."""
    traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([1, *image_shape]))
    outputs = [output.op.name for output in traced.graph.outputs]
    needed = tf.compat.v1.graph_util.extract_sub_graph(traced.graph.as_graph_def(add_shapes=True), outputs)
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options['output'] = 'none'
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(needed, name='')
        return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
