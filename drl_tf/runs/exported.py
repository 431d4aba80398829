"""Exported models, those that come with the package among them: they can be read like runs.

`saved_models/<name>/<version>/` holds a SavedModel and, beside it, `config.json` and a seal. A model is built
from the configuration and takes its weights from the SavedModel's variables, so that it can do all that a
trained one can. A workdir that uses an exported model holds its configuration and, in `model.json`, where it
is.
"""

import os
import pathlib

import drl_tf
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, write_json
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights

DESCRIPTION = os.path.join('assets.extra', 'drl_tf.json')
CARD = 'README.md'
IN_A_RUN = 'saved_model'  # Where a workdir keeps the exports of its run.
_LINK = 'model.json'
_REMEDY = 'remove it, and export it again or take another version'
_SAVED_MODEL, _VARIABLES = 'saved_model.pb', os.path.join('variables', 'variables')


def names():
    """The models that come with the package, sorted."""
    root = shipped_models()
    return sorted(path.name for path in root.iterdir() if _versions(path)) if root.is_dir() else []


def shipped_models():
    """`saved_models/`, which the package has as `drl_tf/saved_models`."""
    return pathlib.Path(drl_tf.__file__).parent / 'saved_models'


def find(model, flag='--model'):
    """The version folder of an exported model.

    Args:
      model: the name of one that comes with the package, its newest version; or a directory: a version
        folder, or one of versions.
      flag: what asked for it, for the message.

    Raises:
      UserError: there is none.
    """
    if model in names() and os.sep not in model:
        directory = str(shipped_models() / model)
    elif os.path.isdir(model):
        directory = model
    else:
        shipped = (
            f'one of {", ".join(names())}'
            if names()
            else 'a name (but no model comes with this installation)'
        )
        raise UserError(f'{flag}={model} must be {shipped}, or the directory of an exported model')
    if _is_version(directory):
        return directory
    versions = _versions(directory)
    if not versions:
        raise UserError(
            f'{flag}={model} holds no exported model: give the folder that --mode=export named, or a run as '
            '--workdir'
        )
    return os.path.join(directory, max(versions, key=int))


def readable(model, flag):
    """A directory that can be read like a run: that of one, or, by `find`, the version folder of an exported
    model."""
    return model if os.path.exists(os.path.join(model, configuration.FILE_NAME)) else find(model, flag)


def _is_version(directory):
    return os.path.exists(os.path.join(directory, _SAVED_MODEL)) or os.path.exists(
        os.path.join(directory, DESCRIPTION)
    )


def _versions(directory):
    """Names of the version folders of a directory."""
    return (
        [path.name for path in pathlib.Path(directory).iterdir() if path.name.isdecimal()]
        if os.path.isdir(directory)
        else []
    )


def name_of(version):
    """What a model is called: the directory of its versions, or the run that holds this."""
    parent = os.path.dirname(os.path.abspath(version))
    run, name = os.path.split(parent)
    return os.path.basename(run) if name == IN_A_RUN else name


def source(workdir):
    """The version folder that the weights of a workdir are in: itself, or what its `model.json` names; None
    for a run.

    Raises:
      UserError: that file is damaged, or names no directory.
    """
    if _is_version(workdir):
        return workdir
    path = os.path.join(workdir, _LINK)
    if not os.path.exists(path):
        return None
    try:
        version = read_json(path)['model']
        if not os.path.isdir(version):
            raise ValueError(f'{version} is no directory')
        return version
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} names no exported model ({one_line(error)}): give --model again, which writes it anew'
        ) from error


def load_config(version):
    """The configuration of an exported model, which computes in float32 whatever it was trained in.

    Raises:
      UserError: it is damaged, or not whole.
    """
    _verify(version)
    return configuration.load(version).replace(precision='float32')


def _verify(version):
    """Raises UserError where a version folder is damaged, or not whole."""
    needed = (configuration.FILE_NAME, DESCRIPTION, _SAVED_MODEL, f'{_VARIABLES}.index')
    if not os.path.exists(os.path.join(version, seal.MANIFEST)):
        raise UserError(f'{version} is no whole export, or one of an earlier version: {_REMEDY}')
    seal.verify(version, needed, 'exported model', _REMEDY, more_allowed=True)


def check_link(workdir):
    """Raises UserError where a workdir holds a run, and so cannot use an exported model."""
    holds_run = os.path.exists(os.path.join(workdir, configuration.FILE_NAME))
    if holds_run and not os.path.exists(os.path.join(workdir, _LINK)):
        raise UserError(f'--workdir={workdir} holds a run of its own: give another for --model')


def link(version, workdir):
    """Has a workdir use an exported model, as if it had been trained there.

    Args:
      version: a version folder.
      workdir: a directory, made where need be, that holds no run.

    Raises:
      UserError: it holds one, or the exported model is damaged.
    """
    check_link(workdir)
    write_json(os.path.join(workdir, _LINK), {'model': os.path.abspath(version)})
    load_config(version).save(workdir)


def named_weights(model, weights):
    """The variables of one set of weights, {network: {path within it: variable}}.

    Args:
      model: a `RecoveryLikelihood`.
      weights: 'ema' or 'raw'.
    """
    chosen = {raw.name: Weights(weights).of(average, raw) for average, raw in model.averages}
    return {
        name: {weight.path.partition('/')[2]: weight.value for weight in network.weights}
        for name, network in chosen.items()
    }


def step_of(version):
    """Step of the checkpoint that an exported model was made of; None where its description is damaged."""
    try:
        return read_json(os.path.join(version, DESCRIPTION))['checkpoint_step']
    except (OSError, ValueError, KeyError):
        return None


def restore(model, version, step=None):
    """Reads the weights of an exported model, which then are both the averaged and the raw ones; u is as it
    was exported.

    Args:
      model: a `RecoveryLikelihood`.
      version: a version folder.
      step: which checkpoint it was made of; None for any.

    Returns:
      The step of the checkpoint that it was made of.

    Raises:
      UserError: it is damaged, not whole, or was made of another step.
    """
    import tensorflow as tf  # Here alone, so that names are found without it.

    _verify(version)
    found = read_json(os.path.join(version, DESCRIPTION))['checkpoint_step']
    if step not in (None, found):
        raise UserError(f'--checkpoint_step={step}: {version} was made of step {found} alone; drop the flag')
    try:
        status = tf.train.Checkpoint(exported_weights=named_weights(model, 'ema')).read(
            os.path.join(version, _VARIABLES)
        )
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
        what = f'is of another architecture than its {configuration.FILE_NAME} says ({one_line(error)})'
        raise UserError(f'{version} {what}: {_REMEDY}') from error
    for average, raw in model.averages:
        raw.set_weights(average.get_weights())
    return found
