"""Checkpoints of a run: `checkpoints/<step>/` in the workdir, sealed with checksums, written aside and
renamed."""

import hashlib
import os
import shutil

import tensorflow as tf
from absl import logging

from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import put_aside, read_json, sync, write_json
from drl_tf.config import config as configuration
from drl_tf.core.models import build_model
from drl_tf.distributed import devices, workers
from drl_tf.runs import exported

_KEEP = 3
_SURROUNDINGS = 'surroundings.json'
_BEST, _BEST_SCORE = 'best', 'best.json'


def directory(workdir):
    """Where a run keeps its checkpoints."""
    return os.path.join(workdir, 'checkpoints')


def steps(workdir):
    """Steps of the checkpoints of a run, sound or not, oldest first."""
    if not os.path.isdir(directory(workdir)):
        return []
    return sorted(int(name) for name in os.listdir(directory(workdir)) if name.isdigit())


def newest_step(workdir):
    """Step of the newest checkpoint, or of the exported model that a workdir uses; None without either."""
    source = exported.source(workdir)
    if source:
        return exported.step_of(source)
    return max(steps(workdir), default=None)


def fingerprint(workdir, step):
    """What tells the weights of a step from all others: SHA-256 of their manifest; '' where there is none."""
    path = exported.source(workdir) or (find(workdir, step) if step is not None else '')
    path = os.path.join(path, seal.MANIFEST)
    if not os.path.exists(path):
        return ''
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def best_step(workdir):
    """Step of the checkpoint that `keep_best` kept last.

    Raises:
      UserError: there is none.
    """
    best = best_score(workdir)
    if best is None:
        raise UserError(
            f'--workdir={workdir} holds no best checkpoint: train with --evaluate_every, or drop --best'
        )
    return best['step']


def best_score(workdir):
    """What `keep_best` noted last, a dict; None where there is nothing.

    Raises:
      UserError: the note is damaged.
    """
    path = os.path.join(workdir, _BEST, _BEST_SCORE)
    if not os.path.exists(path):
        return None
    try:
        note = read_json(path)
        return {**note, 'step': int(note['step'])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is damaged ({error}): remove it') from error


def keep_best(workdir, step, note):
    """Keeps the checkpoint of a step beyond those that follow, in `best/`, instead of the one that was there.

    Args:
      workdir: the directory of the run.
      step: which checkpoint.
      note: dict, ready for JSON, of what it is best in.
    """
    kept, former = os.path.join(workdir, _BEST, f'{step:08d}'), best_score(workdir)
    aside = f'{kept}.writing'
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(_path(workdir, step), aside)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f'{kept} could not be written ({one_line(error)}): put that right, and the same command goes on'
        ) from error
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(aside, kept)
    write_json(os.path.join(workdir, _BEST, _BEST_SCORE), {**note, 'step': step})
    if former and former['step'] != step:
        shutil.rmtree(os.path.join(workdir, _BEST, f'{former["step"]:08d}'), ignore_errors=True)


def put_best_aside(workdir):
    """Moves what `keep_best` kept to a new directory beside it, and returns that."""
    return put_aside(os.path.join(workdir, _BEST))


def save(model, workdir):
    """Writes weights, u, averages, optimizers, step, sums for the log, configuration and surroundings; keeps
    the last three checkpoints.

    Args:
      model: a compiled `RecoveryLikelihood` whose optimizer is built.
      workdir: the directory of the run.

    Raises:
      UserError: it could not be written, for want of room or of rights; the older ones are as they were.
    """
    step, state = model.step, _state(model, workers.count() > 1)
    workers.by_chief(lambda: _write(state, model.config, workdir, step))


def _write(state, config, workdir, step):
    """Writes a checkpoint, and removes those that are not kept."""
    final = _path(workdir, step)
    aside = os.path.join(directory(workdir), f'writing-{step}')
    try:
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside)
        state.write(os.path.join(aside, 'state'))
        config.save(aside)
        write_json(os.path.join(aside, _SURROUNDINGS), devices.surroundings(config.training.deterministic))
        seal.seal(aside)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        sync(directory(workdir))
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f'checkpoint {final} could not be written ({one_line(error)}): the older ones are sound; '
            'put that right, and the same command goes on from them'
        ) from error
    for old in steps(workdir)[:-_KEEP]:
        shutil.rmtree(_path(workdir, old))


def restore(model, workdir, step=None):
    """Reads a checkpoint into a model, with its optimizers where the model is compiled.

    Args:
      model: a `RecoveryLikelihood`.
      workdir: the directory of a run.
      step: which checkpoint; where None the newest sound one, with a warning for each that is not.

    Returns:
      The checkpoint's step.

    Raises:
      UserError: there is no such checkpoint, it is damaged (or, for None, all are), or it belongs to another
        architecture.
    """
    found = workers.told_by_chief(lambda: _restore_sound(model, workdir, step))
    workers.everywhere(lambda: workers.is_chief() or _restore(model, find(workdir, found)))
    return found


def _restore_sound(model, workdir, step):
    """Reads the checkpoint of a step, or for None the newest sound one; returns its step."""
    present, best = steps(workdir), best_score(workdir)
    if best and step == best['step']:
        present.append(step)
    if not present:
        raise UserError(f'--workdir={workdir} holds no checkpoint: train there first')
    if step is not None and step not in present:
        raise UserError(
            f'--checkpoint_step={step} is not among the checkpoints of {workdir}: '
            f'{", ".join(map(str, present))}'
        )
    candidates = present[::-1] if step is None else [step]
    for candidate in candidates:
        try:
            _restore(model, find(workdir, candidate))
            return candidate
        except UserError as error:
            if candidate == candidates[-1]:
                raise
            logging.warning('%s; going back to the one before it', error)


def _restore(model, path):
    """Reads one checkpoint, once its files are found to be those that were written."""
    seal.verify(
        path, ['state.index', 'config.json'], 'checkpoint', 'remove it, or give an older --checkpoint_step'
    )
    try:
        status = _state(model).read(os.path.join(path, 'state'))
        status.assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
        raise UserError(
            f'checkpoint {path} is of another architecture than the config.json of its run '
            f'({one_line(error)})'
        ) from error
    status.expect_partial()


def changed_surroundings(workdir, step, deterministic):
    """What the bits of a run depend on and differs from where a checkpoint was written, as texts 'what: here,
    there'."""
    path = os.path.join(find(workdir, step), _SURROUNDINGS)
    if not os.path.exists(path):
        return []
    there = read_json(path)
    here = devices.surroundings(deterministic)
    return [
        f'{what} {value} here, {there.get(what)} there'
        for what, value in here.items()
        if value != there.get(what)
    ]


def set_aside_after(workdir, step, reason):
    """Renames the checkpoints after a step to `<reason>-<step>`, out of the way of those to come."""
    for unwanted in (present for present in steps(workdir) if present > step):
        aside = os.path.join(directory(workdir), f'{reason}-{unwanted}')
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(_path(workdir, unwanted), aside)


def load_model(workdir, config=None, step=None):
    """Rebuilds the trained model of a run, its averaged weights ready for use.

    At step 0 nothing is averaged yet: what a run begins with, such as imported weights, keeps its u.

    Args:
      workdir: the directory of the run; or one of an exported model, or that uses one (see `exported`).
      config: the configuration to use; the stored one where None.
      step: which checkpoint; the newest sound one where None.

    Returns:
      The `RecoveryLikelihood` and the checkpoint's step.

    Raises:
      UserError: as in `config.load`, `restore` and `exported.restore`.
    """
    model, source = build_model(config or configuration.load(workdir)), exported.source(workdir)
    if source:
        return model, exported.restore(model, source, step)
    step = restore(model, workdir, step)
    if step > 0:
        model.ema_network.converge_u()
    return model, step


def _path(workdir, step):
    return os.path.join(directory(workdir), f'{step:08d}')


def find(workdir, step):
    """Directory of the checkpoint of a step: among the last ones, or where the best one is kept."""
    path, kept = _path(workdir, step), os.path.join(workdir, _BEST, f'{step:08d}')
    return kept if os.path.exists(kept) and not os.path.exists(path) else path


def _state(model, as_read=False):
    """All that a run is made of, by name. (Keras layers in lists are not tracked by `tf.train.Checkpoint` on
    their own.)

    Args:
      model: a `RecoveryLikelihood`.
      as_read: whether sums that the workers hold in parts are read now, by all of them, so that one of them
        can write the state.
    """
    variables = {network.name: network.weights for pair in model.averages for network in pair}
    if model.compiled:
        variables.update({optimizer.name: optimizer.variables for optimizer in model.optimizers})
    state = {part: {variable.path: variable.value for variable in group} for part, group in variables.items()}
    if model.compiled:
        sums = model.level_sums() if as_read else {}
        variables = [variable for mean in model.level_means.values() for variable in mean.variables]
        state['level_means'] = {v.path: tf.Variable(sums[v.path]) if as_read else v.value for v in variables}
    return tf.train.Checkpoint(**state)
