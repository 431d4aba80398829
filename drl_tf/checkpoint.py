"""Checkpoints of a run: `checkpoints/<step>/` in the workdir, written aside and renamed."""

import os
import shutil

import tensorflow as tf
from absl import logging

from drl_tf import config as configuration
from drl_tf.cooperative import build_model
from drl_tf.errors import UserError

_KEEP = 3


def directory(workdir):
    """Where a run keeps its checkpoints."""
    return os.path.join(workdir, 'checkpoints')


def steps(workdir):
    """Steps of the checkpoints of a run, oldest first."""
    if not os.path.isdir(directory(workdir)):
        return []
    names = [name for name in os.listdir(directory(workdir)) if name.isdigit()]
    return sorted(int(name) for name in names if os.path.exists(os.path.join(directory(workdir), name, 'state.index')))


def save(model, workdir):
    """Writes weights, u, averaged weights, optimizer and step; keeps the last three checkpoints.

    Args:
      model: a compiled `RecoveryLikelihood` whose optimizer is built.
      workdir: the directory of the run.
    """
    step = int(model.optimizer.iterations)
    final = _path(workdir, step)
    aside = os.path.join(directory(workdir), f'writing-{step}')
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    _state(model).write(os.path.join(aside, 'state'))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(aside, final)
    for old in steps(workdir)[:-_KEEP]:
        shutil.rmtree(_path(workdir, old))


def restore(model, workdir, step=None):
    """Reads a checkpoint into a model, with its optimizer where the model is compiled.

    Args:
      model: a `RecoveryLikelihood`.
      workdir: the directory of a run.
      step: which checkpoint; the newest where None.

    Returns:
      The checkpoint's step.

    Raises:
      UserError: there is no such checkpoint, it is damaged, or it belongs to another architecture.
    """
    present = steps(workdir)
    if not present:
        raise UserError(f'--workdir={workdir} holds no checkpoint: train there first')
    step = present[-1] if step is None else step
    if step not in present:
        raise UserError(f'--checkpoint_step={step} is not among the checkpoints of {workdir}: {", ".join(map(str, present))}')
    path = _path(workdir, step)
    try:
        status = _state(model).read(os.path.join(path, 'state'))
        status.assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f'checkpoint {path} is damaged or of another architecture than {workdir}/config.json ({reason}): '
            'remove it, or give an older one by --checkpoint_step'
        ) from error
    status.expect_partial()
    return step


def restore_newest_sound(model, workdir):
    """Reads the newest checkpoint that is sound, with a warning for each that is not; takes, returns and raises as `restore`."""
    *older, oldest = reversed(steps(workdir))
    for step in older:
        try:
            return restore(model, workdir, step)
        except UserError as error:
            logging.warning('%s; going back to the one before it', error)
    return restore(model, workdir, oldest)


def load_model(workdir, config=None, step=None):
    """Rebuilds the trained model of a run, its averaged weights ready for use.

    Args:
      workdir: the directory of the run.
      config: the configuration to use; the stored one where None.
      step: which checkpoint; the newest where None.

    Returns:
      The `RecoveryLikelihood` and the checkpoint's step.

    Raises:
      UserError: as in `config.load` and `restore`.
    """
    model = build_model(config or configuration.load(workdir))
    step = restore(model, workdir, step)
    model.ema_network.converge_u()
    return model, step


def _path(workdir, step):
    return os.path.join(directory(workdir), f'{step:08d}')


def _state(model):
    """All that a run is made of, by name. (Keras layers in lists are not tracked by `tf.train.Checkpoint` on their own.)"""
    variables = {network.name: network.weights for pair in model.averages for network in pair}
    if model.compiled:
        variables.update({optimizer.name: optimizer.variables for optimizer in model.optimizers})
    return tf.train.Checkpoint(**{part: {variable.path: variable.value for variable in group} for part, group in variables.items()})
