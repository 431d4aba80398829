"""Where training starts: from the last checkpoint of the workdir, from another run's weights, or at 0."""

import dataclasses

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.runs import checkpoint


def data_scale(data, workdir, init_from):
    """Mean of each channel and deviation of the images, which preconditioned energies are built on.

    They are those of the run in the workdir, else those of `init_from`, else measured.

    Args:
      data: a `Data` that lacks them.
      workdir: the directory of the run.
      init_from: as in `train`.
    """
    for source in (workdir, init_from):
        if source and configuration.exists(source):
            found = configuration.load(source).data
            return found.data_mean, found.data_std
    return pipeline.mean_and_std(data)


def starting_step(model, run, workdir, init_from, weights):
    """Restores the last checkpoint, or takes another run's weights, or starts at 0.

    Args:
      model: a compiled `RecoveryLikelihood`.
      run: the `Run`, on the chief.
      workdir: its directory.
      init_from, weights: as in `train`.
    """
    config = model.config
    if run.steps():
        step = checkpoint.restore(model, workdir)
        run.set_aside_after(step, 'damaged')
        print(f'resuming at step {step}')
        changed = run.changed_surroundings(step, config.training.deterministic)
        if changed:
            logging.warning(
                'this run will not end with the bits of an uninterrupted one: %s', '; '.join(changed)
            )
        return step
    if init_from:
        _take_weights(model, init_from, weights)
    return 0


def _take_weights(model, init_from, weights):
    """Gives a model the weights of another run, averaged or raw."""
    config = model.config
    other = configuration.load(init_from)
    of_network = {'image_size', 'image_channels', 'num_classes', 'initializer', 'data_mean', 'data_std'}
    of_network |= {
        field.name for group in (config.network, config.initializer) for field in dataclasses.fields(group)
    }
    of_network -= {
        'dropout',
        'initializer_dropout',
        'initializer_learning_rate',
        'initializer_level_weight',
        'initializer_data_share',
    }
    differences = config.differences(other, lambda field: field.name in of_network)
    if differences:
        raise UserError(f'--init_from={init_from} has another network: {"; ".join(differences)}')
    source, step = checkpoint.load_model(init_from, other)
    for mine, theirs in zip(model.averages, source.averages, strict=True):
        for network in mine:
            network.set_weights(Weights(weights).of(*theirs).get_weights())
    print(f'starting from the {weights} weights of {init_from} at step {step}')
