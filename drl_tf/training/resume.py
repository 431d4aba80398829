"""Prepares the start of training: chooses the first step and weights, and measures the training images."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.config import chains, objectives
from drl_tf.config import config as configuration
from drl_tf.config.training_options import LOSSES_OF_HEIGHTS
from drl_tf.core.weights import Weights
from drl_tf.data import dataset_table, pipeline
from drl_tf.distributed import chief
from drl_tf.runs import beginnings, checkpoint, exported, workdirs

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.config.data_options import Data
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run

# Options of the networks that decide neither the shapes nor the meaning of the weights.
_FREE = {
    'dropout',
    'initializer_dropout',
    'initializer_learning_rate',
    'initializer_level_weight',
    'initializer_data_share',
}
# Options with which the same weights of --energy=paper give another energy: they scale it, or change the
# noise level that the network gets as its input.
_OF_PAPER = {'energy_scale', 'b2', 'schedule', 'num_levels'}
_EPOCHS = 200  # How often --train_steps=0 takes each picture.
_FEWEST_STEPS = 2_000
_MOST_STEPS = 20_000
_FEW = 500  # Of fewer pictures than these a model is likely to learn copies.


def completed(config: Config, workdir: str, init_from: str | None) -> Config:
    """Returns a configuration with the options that the training images decide.

    These are the mean and standard deviation of the pixels, for --energy=preconditioned, and the number of
    steps, for the user's own pictures with --train_steps=0.

    Args:
      config: the configuration of the command.
      workdir: the run's directory.
      init_from: directory of another run whose weights training starts from; None: none.
    """
    data = config.data
    if config.network.energy == 'preconditioned' and not (data.data_std and data.data_mean):
        mean, std = data_scale(data, workdir, init_from)
        config = config.replace(data_mean=data.data_mean or tuple(mean), data_std=data.data_std or std)
    if not config.training.train_steps or dataset_table.is_own(config.data.dataset):
        chosen = steps_for_pictures(config, workdir)
        config = config.with_flags(**chosen)
    return config


@chief.only
def data_scale(data: Data, workdir: str, init_from: str | None) -> tuple[tuple[float, ...], float]:
    """Returns mean and standard deviation of the pixels of the training images, whose values are in [-1, 1].

    Models with --energy=preconditioned need both numbers. They are read from the configuration of the run in
    `workdir`. If it holds no run, they are read from the configuration of the run in `init_from`. Without
    either run, they are computed from the images.

    Args:
      data: the options of the dataset.
      workdir: the run's directory.
      init_from: directory of another run whose weights training starts from; None: none.

    Returns:
      Pair of the mean of each channel, and one standard deviation of all pixels around these means.
    """
    begun = workdir if workdirs.steps(workdir) else None
    for source in (begun, init_from):
        if source and configuration.exists(source):
            found = configuration.load(source).data
            if found.image_channels == data.image_channels:
                return found.data_mean, found.data_std
    return pipeline.mean_and_std(data)


@chief.only
def steps_for_pictures(config: Config, workdir: str) -> dict[str, int]:
    """Chooses the number of training steps for the user's own pictures; warns of fewer than 500 pictures.

    With --train_steps=0, a new run uses each picture about 200 times, but takes at least 2,000 and at most
    20,000 steps, and a resumed run keeps its former options. Any other --train_steps is left unchanged.

    Args:
      config: the configuration, whose dataset is the user's pictures.
      workdir: the run's directory.

    Returns:
      The options to change in the configuration. {} if --train_steps is above 0. Otherwise, 'train_steps' is
      the number of steps, and 'decay_steps' the step at which the decay of the learning rate ends: in a
      new run, the last step, unless --decay_steps names another.
    """
    count = pipeline.count_images(config.data, 'train')
    if count < _FEW:
        logging.warning(
            'Only %d pictures to train on: the model will learn copies of them; give %d or more for new ones',
            count,
            _FEW,
        )
    options = config.training
    if options.train_steps:
        return {}
    if workdirs.steps(workdir):
        kept = configuration.load(workdir).training
        return {'train_steps': kept.train_steps, 'decay_steps': kept.decay_steps}
    thousands = round(_EPOCHS * count / options.batch_size / 1000)
    steps = min(max(_FEWEST_STEPS, 1000 * thousands), _MOST_STEPS)
    print(f'{steps:,} steps for {count:,} pictures; others: --train_steps=N --decay_steps=N')
    return {'train_steps': steps, 'decay_steps': options.decay_steps or steps}


def starting_step(
    model: RecoveryLikelihood, run: Run, workdir: str, init_from: str | None, weights: Weights
) -> int:
    """Loads the weights to start from, and returns the number of training steps that are done.

    The newest undamaged checkpoint in the workdir is restored. Without any checkpoint, the result is 0, and
    the model gets the weights of the run in `init_from`, which `start.json` in the workdir then names; if
    `init_from` is None, the model keeps its initial weights.

    Args:
      model: the model to train, with its optimizers.
      run: reads and writes the files of the workdir. With several workers, it works on the chief (the first
        worker).
      workdir: the run's directory.
      init_from: directory of another run whose weights a new run takes; None: none.
      weights: which weights of `init_from` to take: 'ema' (averages) or 'raw'.

    Raises:
      UserError: all checkpoints are damaged, the weights of `init_from` do not fit the model, or the run in
        the workdir did not start from them.
    """
    config = model.config
    if run.steps():
        if init_from:
            _check_started(workdir, init_from, weights)
        step = checkpoint.restore(model, workdir)
        run.set_aside_after(step, 'damaged')
        print(f'resuming at step {step}')
        changed = run.changed_surroundings(step, config.training.deterministic)
        if changed:
            listed = '; '.join(changed)
            logging.warning('this run will not be bit-identical to an uninterrupted one: %s', listed)
        return step
    run.record_start(_take_weights(model, init_from, weights) if init_from else {})
    if not init_from:
        _warn_of_heights_before_slopes(config)
    if objectives.hides_no_class(config):
        logging.warning(
            'With --label_dropout=0, only images of no class (label -1) teach the energy without a class, '
            'which guidance, compose, likelihood, score, ood and inpainting use: give --label_dropout=0.1 '
            'for them'
        )
    return 0


def _check_started(workdir: str, init_from: str, weights: Weights) -> None:
    """Raises UserError if the run in a workdir did not start from the weights of `init_from`.

    The record of the start has the name of the other run, not its path, so that this run may be moved. The
    other run may have been trained further since.
    """
    start = chief.only(beginnings.beginning)(workdir)['start']
    if (start.get('init_from'), start.get('weights')) != (_name_of(init_from), weights):
        raise UserError(
            f'--workdir={workdir} holds a run that did not start from the {weights} weights of {init_from}: '
            'drop --init_from to continue that run, or give another --workdir or --restart'
        )


def _name_of(init_from: str) -> str:
    """Returns the name of the run or exported model in the directory `init_from`, for the record."""
    version = exported.source(init_from)
    return exported.name_of(version) if version else os.path.basename(os.path.abspath(init_from))


def _warn_of_heights_before_slopes(config: Config) -> None:
    """Warns if a new model of images learns heights from the first step on, which spoils its samples."""
    options = config.training
    given = [f'--{name}' for name in LOSSES_OF_HEIGHTS if getattr(options, name)]
    if given and not options.heights_after and not config.planar:
        logging.warning(
            '%s from the first step on can spoil the samples: teach the slopes first, by --heights_after=N '
            'or --init_from=RUN',
            ', '.join(given),
        )


def check_start(config: Config, init_from: str) -> None:
    """Checks that a new run can start from the weights of another run; raises UserError if not.

    Args:
      config: the configuration of the new run.
      init_from: directory of the other run, or of an exported model.
    """
    other = configuration.load(init_from)
    mine = config.data
    theirs = other.data
    if mine.image_channels == theirs.image_channels:
        config = config.replace(
            data_mean=mine.data_mean or theirs.data_mean, data_std=mine.data_std or theirs.data_std
        )
    fields = dataclasses.fields(config.network)
    if config.diffusion.initializer:
        fields += dataclasses.fields(config.initializer)
    of_network = {
        'image_size',
        'image_width',
        'image_channels',
        'num_classes',
        'initializer',
        'data_mean',
        'data_std',
    }
    of_network |= {field.name for field in fields} - _FREE
    if config.network.energy == 'paper':
        of_network |= _OF_PAPER
    differences = config.differences(other, lambda field: field.name in of_network)
    if differences:
        remedy = _remedy(config, other)
        raise UserError(f'--init_from={init_from} has another network: {"; ".join(differences)}{remedy}')
    _check_levels(config, other, init_from)


def _take_weights(model: RecoveryLikelihood, init_from: str, weights: Weights) -> dict[str, Any]:
    """Copies the weights of another run, 'ema' or 'raw', into a model; returns the record of them."""
    check_start(model.config, init_from)
    other = configuration.load(init_from)
    source, step = checkpoint.load_model(init_from, other)
    for mine, theirs in zip(model.averages, source.averages, strict=True):
        for network in mine:
            network.set_weights(Weights(weights).of(*theirs).get_weights())
    print(f'starting from the {weights} weights of {init_from} at step {step}')
    return {
        'init_from': _name_of(init_from),
        'weights': weights,
        'step': step,
        'dataset': other.data.dataset,
        'recipe': other.diffusion.recipe,
        'imported': beginnings.imported(beginnings.beginning(init_from)),
    }


def _remedy(config: Config, other: Config) -> str:
    """Returns the end of the error about a different network: options that train it as t6 trains its own."""
    if config.network.energy != 'paper' or other.network.energy != 'preconditioned':
        return ''
    return (
        '; to train it by recovery likelihood, as t6 does: --recipe=preconditioned --objective=contrastive '
        '--levels=walk --mcmc_steps=30'
    )


def _check_levels(config: Config, other: Config, init_from: str) -> None:
    """Raises UserError if only recovery likelihood would train noise levels that have no energy yet."""
    is_alone = config.network.energy == 'preconditioned' and config.training.objective == 'contrastive'
    if not is_alone:
        return
    if other.training.levels == 'continuous':
        chains.check_range(config, other)
        return
    differences = config.differences(other, lambda field: field.name in ('schedule', *chains.FREE_LEVELS))
    if differences:
        raise UserError(
            f'--init_from={init_from} learnt the noise levels of its own schedule alone '
            f'({"; ".join(differences)}): give the same, or start from a run with --levels=continuous'
        )
