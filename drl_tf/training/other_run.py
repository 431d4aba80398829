"""Starts a new run from the weights of another run (--init_from)."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from drl_tf.base.errors import UserError
from drl_tf.config import chains
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.distributed import chief
from drl_tf.runs import beginnings, checkpoint, exported

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

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


def check(config: Config, init_from: str) -> None:
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


def take(model: RecoveryLikelihood, init_from: str, weights: Weights) -> dict[str, Any]:
    """Copies the weights of another run into a model, and returns the record of them, {name: JSON value}.

    Args:
      model: the model to fill.
      init_from: directory of the other run, or of an exported model.
      weights: which of its weights: 'ema' (averages) or 'raw'.

    Raises:
      UserError: the weights do not fit the model.
    """
    check(model.config, init_from)
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


def check_record(workdir: str, init_from: str, weights: Weights) -> None:
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
