"""Checkpoints of a run, in `<workdir>/checkpoints/<step>/` with checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from absl import logging

from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import put_aside, read_json, sync, write_json
from drl_tf.config import config as configuration
from drl_tf.core.build_model import build_model
from drl_tf.distributed import chief, devices, workers
from drl_tf.runs import exported, workdirs

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_KEEP = 3
_SURROUNDINGS = 'surroundings.json'
_BEST = 'best'
_BEST_SCORE = 'best.json'


def newest_step(workdir: str) -> int | None:
    """Returns the training step of the newest checkpoint in a workdir; None if there is none.

    If the workdir uses an exported model, the result is that model's step; None if it is damaged.
    """
    source = exported.source(workdir)
    if source:
        return exported.step_of(source)
    return max(workdirs.steps(workdir), default=None)


def fingerprint(workdir: str, step: int | None) -> str:
    """Returns the SHA-256 of the manifest of the exported model that a workdir uses, or of a checkpoint.

    `step` is the step of the checkpoint; None: no checkpoint. The result is '' if there is no manifest.
    """
    source = exported.source(workdir) or (find(workdir, step) if step is not None else '')
    manifest = os.path.join(source, seal.MANIFEST)
    if not (source and os.path.exists(manifest)):
        return ''
    with open(manifest, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def best_step(workdir: str) -> int:
    """Returns the step of the checkpoint that --evaluate_every scored best; raises UserError without one."""
    best = best_score(workdir)
    if best is None:
        raise UserError(
            f'--workdir={workdir} holds no best checkpoint: train with --evaluate_every, or drop --best'
        )
    return best['step']


def best_score(workdir: str) -> dict[str, Any] | None:
    """Reads the record of the best checkpoint, `<workdir>/best/best.json`; None if there is none.

    It has 'step', the score and what the score depends on. Raises UserError if the file is damaged.
    """
    path = os.path.join(workdir, _BEST, _BEST_SCORE)
    if not os.path.exists(path):
        return None
    try:
        note = read_json(path)
        return {**note, 'step': int(note['step'])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is damaged ({error}): remove it') from error


def keep_best(workdir: str, step: int, note: Mapping[str, Any]) -> None:
    """Copies a checkpoint to `<workdir>/best/`, in place of the former best checkpoint.

    Args:
      workdir: the run's directory.
      step: step of the checkpoint.
      note: its score and what the score depends on, {name: JSON value}; stored in `best/best.json`.

    Raises:
      UserError: the copy could not be written.
    """
    kept = os.path.join(workdir, _BEST, f'{step:08d}')
    former = best_score(workdir)
    aside = f'{kept}.writing'
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(_path(workdir, step), aside)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f'{kept} could not be written ({one_line(error)}): fix that and run the same command again'
        ) from error
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(aside, kept)
    write_json(os.path.join(workdir, _BEST, _BEST_SCORE), {**note, 'step': step})
    if former and former['step'] != step:
        shutil.rmtree(os.path.join(workdir, _BEST, f'{former["step"]:08d}'), ignore_errors=True)


def put_best_aside(workdir: str) -> str | None:
    """Moves `<workdir>/best/`, the best checkpoint, out of a new run's way; returns its new path, or None."""
    return put_aside(os.path.join(workdir, _BEST))


def save(model: RecoveryLikelihood, workdir: str) -> None:
    """Writes a checkpoint of the current step, and deletes all but the last three checkpoints.

    Args:
      model: a compiled model whose optimizer is built.
      workdir: the run's directory.

    Raises:
      UserError: the checkpoint could not be written; older checkpoints stay.
    """
    step = model.step
    state = _state(model, workers.count() > 1)
    _write(state, model.config, workdir, step)


@chief.only
def _write(state: tf.train.Checkpoint, config: Config, workdir: str, step: int) -> None:
    """Writes a checkpoint, then deletes all but the last three checkpoints."""
    final = _path(workdir, step)
    aside = os.path.join(workdirs.checkpoints(workdir), f'writing-{step}')
    try:
        shutil.rmtree(aside, ignore_errors=True)
        os.makedirs(aside)
        state.write(os.path.join(aside, 'state'))
        config.save(aside)
        write_json(os.path.join(aside, _SURROUNDINGS), devices.surroundings(config.training.deterministic))
        seal.seal(aside)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        sync(workdirs.checkpoints(workdir))
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f'checkpoint {final} could not be written ({one_line(error)}): the older ones are sound; '
            'fix that, and the same command continues from them'
        ) from error
    for old in workdirs.steps(workdir)[:-_KEEP]:
        shutil.rmtree(_path(workdir, old))


def restore(model: RecoveryLikelihood, workdir: str, step: int | None = None) -> int:
    """Loads a checkpoint into a model and, if the model is compiled, into its optimizers.

    Args:
      model: the model to fill.
      workdir: the run's directory.
      step: training step of the checkpoint. None: the newest undamaged one; damaged ones give a warning.

    Returns:
      The checkpoint's training step.

    Raises:
      UserError: the checkpoint is missing, damaged or of another architecture.
    """
    found = _restore_sound(model, workdir, step)

    def follow_chief() -> None:
        if not workers.is_chief():
            _restore(model, find(workdir, found))

    workers.everywhere(follow_chief)
    return found


@chief.only
def _restore_sound(model: RecoveryLikelihood, workdir: str, step: int | None) -> int:
    """Reads the checkpoint of `step`, or for None the newest sound one; returns the step that was read."""
    present = workdirs.steps(workdir)
    best = best_score(workdir)
    if step is not None and best and step == best['step']:
        present.append(step)
    if not present:
        raise UserError(f'--workdir={workdir} holds no checkpoint: train there first')
    if step is not None and step not in present:
        listed = ', '.join(map(str, present))
        raise UserError(f'--checkpoint_step={step} is not among the checkpoints of {workdir}: {listed}')
    *candidates, last = present[::-1] if step is None else [step]
    for candidate in candidates:
        try:
            _restore(model, find(workdir, candidate))
            return candidate
        except UserError as error:
            logging.warning('%s; trying the one before it', error)
    _restore(model, find(workdir, last))
    return last


def _restore(model: RecoveryLikelihood, path: str) -> None:
    """Verifies the files of one checkpoint, then reads the checkpoint into the model."""
    seal.verify(
        path, ['state.index', 'config.json'], 'checkpoint', 'remove it, or give an older --checkpoint_step'
    )
    try:
        status = _state(model).read(os.path.join(path, 'state'))
        status.assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
        raise UserError(
            f'checkpoint {path} does not fit the architecture in the config.json of its run '
            f'({one_line(error)})'
        ) from error
    status.expect_partial()


def changed_surroundings(workdir: str, step: int, deterministic: bool) -> list[str]:
    """Compares hardware and software of this process with those that wrote the checkpoint at `step`.

    `deterministic`, an option of this process, is compared too. Returns a text for each difference, such as
    'device TPU here, CPU there' (a TPU in this process). A checkpoint without such a record gives [].
    """
    path = os.path.join(find(workdir, step), _SURROUNDINGS)
    if not os.path.exists(path):
        return []
    there = read_json(path)
    here = devices.surroundings(deterministic)
    changed = [name for name in there if name in here and here[name] != there[name]]
    return [f'{name} {here[name]} here, {there[name]} there' for name in changed]


def set_aside_after(workdir: str, step: int, reason: str) -> None:
    """Hides checkpoints above `step` from the run: renames each to `<reason>-<its step>` (`damaged-70`)."""
    for unwanted in (present for present in workdirs.steps(workdir) if present > step):
        aside = os.path.join(workdirs.checkpoints(workdir), f'{reason}-{unwanted}')
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(_path(workdir, unwanted), aside)


def load_model(
    workdir: str, config: Config | None = None, step: int | None = None
) -> tuple[RecoveryLikelihood, int]:
    """Loads a trained model, ready to sample with its averaged weights.

    Args:
      workdir: the directory of a run or of an exported model.
      config: the configuration to use; None: the one stored in `workdir`. What training measured on its
        images, such as their mean, always comes from the stored configuration.
      step: training step of the checkpoint; None: the newest undamaged one.

    Returns:
      The model and the checkpoint's training step.

    Raises:
      UserError: the configuration or the weights are missing or damaged, or do not fit each other.
    """
    stored = configuration.load(workdir)
    config = (config or stored).replace(**configuration.measured(stored))
    model = build_model(config)
    if source := exported.source(workdir):
        return model, exported.restore(model, source, step)
    step = restore(model, workdir, step)
    if step > 0:
        model.ema_network.converge_u()
    return model, step


def _path(workdir: str, step: int) -> str:
    return os.path.join(workdirs.checkpoints(workdir), f'{step:08d}')


def find(workdir: str, step: int) -> str:
    """Returns the path of a checkpoint: in `best/` if only there, else in `checkpoints/`, even if missing."""
    path = _path(workdir, step)
    kept = os.path.join(workdir, _BEST, f'{step:08d}')
    return kept if os.path.exists(kept) and not os.path.exists(path) else path


def _state(model: RecoveryLikelihood, as_read: bool = False) -> tf.train.Checkpoint:
    """Collects what a run must restore; `as_read` sums `level_means` over workers, so all must call this."""
    # By name, because `tf.train.Checkpoint` does not track Keras layers in lists.
    groups = {network.name: network.weights for pair in model.averages for network in pair}
    if model.compiled:
        groups.update({optimizer.name: optimizer.variables for optimizer in model.optimizers})
        groups['level_means'] = [each for mean in model.level_means.values() for each in mean.variables]
    state = {part: {variable.path: variable.value for variable in group} for part, group in groups.items()}
    if model.compiled and as_read:
        state['level_means'] = {path: tf.Variable(total) for path, total in model.level_sums().items()}
    return tf.train.Checkpoint(**state)
