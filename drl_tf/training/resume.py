"""Where training starts: from the last checkpoint of the workdir, from another run's weights, or at 0."""

import dataclasses
import json
import os

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import LOCK, put_aside, write_json
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.distributed import workers
from drl_tf.runs import checkpoint, exported

_ROLLBACKS = 'rollbacks.json'


def put_run_aside(workdir, init_from):
    """Moves the run that is in the workdir to a directory beside it, and returns that; None where the workdir
    is empty."""
    if init_from and os.path.realpath(init_from) == os.path.realpath(workdir):
        raise UserError(f'--restart with --init_from={init_from}, the same directory: give another --workdir')
    others = set(os.listdir(workdir)) - {LOCK, 'config.json', 'checkpoints'}
    if others and not os.path.exists(os.path.join(workdir, 'config.json')) and not checkpoint.steps(workdir):
        raise UserError(
            f'--workdir={workdir} holds no run but {", ".join(sorted(others))[:100]}: give another for '
            '--restart'
        )
    return put_aside(workdir)


def compare(config, workdir):
    """Refuses another configuration than that of the run that was begun in the workdir; says which harmless
    options differ."""
    if exported.source(workdir):
        raise UserError(
            f'--workdir={workdir} uses an exported model: give another, and --init_from={workdir} to start '
            'from its weights'
        )
    if not checkpoint.steps(workdir):
        return
    stored, harmless = configuration.load(workdir), ('resume', 'always', 'scores')
    differences = config.differences(stored, lambda field: field.metadata['changes'] not in harmless)
    if differences:
        raise UserError(
            f'--workdir={workdir} holds another run ({"; ".join(differences)}): give the same flags, or '
            'another --workdir'
        )
    changes = config.differences(stored, lambda field: field.metadata['changes'] in harmless)
    if changes:
        print(f'changed: {"; ".join(changes)}')


def starting_step(model, config, workdir, init_from, weights):
    """Restores the last checkpoint, or takes another run's weights, or starts at 0."""
    if workers.told_by_chief(lambda: bool(checkpoint.steps(workdir))):
        step = checkpoint.restore(model, workdir)
        workers.by_chief(lambda: checkpoint.set_aside_after(workdir, step, 'damaged'))
        print(f'resuming at step {step}')
        changed = workers.by_chief(lambda: checkpoint.changed_surroundings(model, workdir, step))
        if changed:
            logging.warning(
                'this run will not end with the bits of an uninterrupted one: %s', '; '.join(changed)
            )
        return step
    if init_from:
        other = configuration.load(init_from)
        of_network = {'image_size', 'image_channels', 'num_classes', 'initializer'}
        of_network |= {
            field.name
            for group in (config.network, config.initializer)
            for field in dataclasses.fields(group)
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
    return 0


def step_back(workdir, rollbacks, step):
    """Notes a further rollback; puts the newest checkpoint aside where an earlier one went back to it or
    before.

    By then the run was on its way out.
    """
    present = checkpoint.steps(workdir)
    if len(present) > 1 and any(step > present[-1] for step in rollbacks):
        checkpoint.set_aside_after(workdir, present[-2], 'diverged')
    write_json(os.path.join(workdir, _ROLLBACKS), [*rollbacks, step])


def rollbacks(workdir):
    """The steps at which the run diverged so far; noted in the workdir, so that a rerun draws and learns as
    the run did."""
    path = os.path.join(workdir, _ROLLBACKS)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding='utf-8') as file:
            return [int(step) for step in json.load(file)]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f'{path} is damaged ({error}): remove it to train with full learning rates, or --restart'
        ) from error
