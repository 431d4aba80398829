"""Finds and loads exported models, including those that come with the package.

An exported model is a directory `<name>/<version>/` with a SavedModel, `config.json` and checksums. A workdir
can refer to an exported model, as if it had been trained there: then it holds `model.json`, with the path of
the exported model, and a copy of its `config.json`.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import drl_tf
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, write_json
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.runs import workdirs

if TYPE_CHECKING:
    import tensorflow as tf

    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

DESCRIPTION = os.path.join('assets.extra', 'drl_tf.json')
CARD = 'README.md'
IN_A_RUN = 'saved_model'  # Directory of a run's own exports, in its workdir.
_LINK = 'model.json'
_REMEDY = 'remove it, then export it again or use another version'
_SAVED_MODEL = 'saved_model.pb'
_VARIABLES = os.path.join('variables', 'variables')


def names() -> list[str]:
    """Returns the names of the models that come with the package, sorted."""
    root = shipped_models()
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if _versions(path))


def shipped_models() -> pathlib.Path:
    """Returns the path of the directory `drl_tf/saved_models`."""
    return pathlib.Path(drl_tf.__file__).parent / 'saved_models'


def find(model: str, flag: str = '--model') -> str:
    """Returns the version directory of an exported model, such as '.../saved_models/digits/1'.

    Args:
      model: the name of a model that comes with the package; or a version directory; or the parent of version
        directories, of which the newest is taken.
      flag: the option that the error message names.

    Raises:
      UserError: there is no such model; or the name is also that of another model's directory here.

    Example:
      find('digits')  # '.../saved_models/digits/1'
    """
    if model in names() and os.sep not in model:
        directory = str(shipped_models() / model)
        mine = [os.path.join(model, version) for version in _versions(model)]
        if any(map(_is_version, mine)) and not os.path.samefile(model, directory):
            raise UserError(
                f'{flag}={model} is a model of the package and a directory here: give ./{model} for yours, '
                f'or {directory}'
            )
    elif os.path.isdir(model):
        directory = model
    else:
        shipped = 'a name (but no model comes with this installation)'
        if names():
            shipped = f'one of {", ".join(names())}'
        raise UserError(f'{flag}={model} must be {shipped}, or the directory of an exported model')
    if _is_version(directory):
        return directory
    versions = _versions(directory)
    if not versions:
        raise UserError(
            f'{flag}={model} holds no exported model: give the folder that --mode=export printed, or give a '
            'run as --workdir'
        )
    return os.path.join(directory, max(versions, key=int))


def two_of(model: str) -> tuple[str, str]:
    """Splits the value of --model at its comma into two models; the second is '' if there is only one.

    Examples:
      >>> two_of('digits,runs/b/saved_model'), two_of('digits')
      (('digits', 'runs/b/saved_model'), ('digits', ''))
    """
    if os.path.isdir(model):
        return model, ''
    first, _, second = model.partition(',')
    return first, second


def readable(model: str, flag: str) -> str:
    """Returns the directory from which to load a model, which may be a run or an exported model.

    Args:
      model: the directory of a run; or the name or the directory of an exported model.
      flag: the option that the error message names.

    Returns:
      The directory of the run unchanged, or the version directory of the exported model, such as
      '.../saved_models/digits/1'.

    Raises:
      UserError: there is no such model.
    """
    if configuration.exists(model):
        return model
    return find(model, flag)


def trained(model: str, flag: str) -> str:
    """Returns the directory from which to load weights: that of `readable`, if it holds any.

    Args:
      model: the directory of a run; or the name or the directory of an exported model.
      flag: the option that the error message names.

    Raises:
      UserError: there is no such model, or the run has no checkpoint.
    """
    directory = readable(model, flag)
    if not (source(directory) or workdirs.steps(directory)):
        raise UserError(f'{flag}={model} holds no checkpoint: train there first')
    return directory


def _is_version(directory: str) -> bool:
    """Returns whether a directory is a version folder; a damaged one counts too."""
    return any(os.path.exists(os.path.join(directory, name)) for name in (_SAVED_MODEL, DESCRIPTION))


def _versions(directory: str | os.PathLike) -> list[str]:
    """Returns the names of the version folders in a directory."""
    if not os.path.isdir(directory):
        return []
    return [path.name for path in pathlib.Path(directory).iterdir() if path.name.isdecimal()]


def name_of(version: str) -> str:
    """Returns the name of an exported model from the path of its version directory.

    The name is NAME in `NAME/<version>`, or in `NAME/saved_model/<version>` if a run in NAME exported the
    model.
    """
    parent = os.path.dirname(os.path.abspath(version))
    run, name = os.path.split(parent)
    return os.path.basename(run) if name == IN_A_RUN else name


def source(workdir: str) -> str | None:
    """Returns the directory of the exported model to which a workdir refers.

    A workdir can use an exported model instead of a run of its own. Then its file `model.json` holds the path
    of the model.

    Args:
      workdir: the workdir. It may also be the version directory of an exported model, which is returned.

    Returns:
      The version directory, such as '.../saved_models/digits/1'; None if the workdir refers to no exported
      model.

    Raises:
      UserError: `model.json` in the workdir is damaged, or names no directory.
    """
    if _is_version(workdir):
        return workdir
    path = os.path.join(workdir, _LINK)
    if not os.path.exists(path):
        return None
    try:
        version = read_json(path)['model']
        if not os.path.isdir(version):
            raise ValueError(f'{version} is not a directory')
        return version
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} names no exported model ({one_line(error)}): give --model to write it again'
        ) from error


def load_config(version: str) -> Config:
    """Reads the configuration of an exported model, and sets its option `precision` to 'float32'.

    Args:
      version: the version directory of the exported model, such as '.../saved_models/digits/1'.

    Raises:
      UserError: the exported model is damaged or incomplete.
    """
    _verify(version)
    return configuration.load(version).replace(precision='float32')


def _verify(version: str) -> None:
    """Raises UserError if a version folder is damaged or incomplete."""
    needed = (configuration.FILE_NAME, DESCRIPTION, _SAVED_MODEL, f'{_VARIABLES}.index')
    if not os.path.exists(os.path.join(version, seal.MANIFEST)):
        raise UserError(f'{version} is an incomplete export, or from an older drl_tf: {_REMEDY}')
    seal.verify(version, needed, 'exported model', _REMEDY, more_allowed=True)


def check_link(workdir: str) -> None:
    """Raises UserError if a workdir holds a run of its own, and so cannot refer to an exported model."""
    if workdirs.holds_run(workdir) and not os.path.exists(os.path.join(workdir, _LINK)):
        raise UserError(f'--workdir={workdir} holds a run of its own: give another for --model')


def link(version: str, workdir: str) -> None:
    """Makes a workdir refer to an exported model, so that all modes use the model like a run trained there.

    The workdir gets `model.json`, with the path of the model, and `config.json`, its configuration.

    Args:
      version: the version directory of the exported model, such as '.../saved_models/digits/1'.
      workdir: a directory that holds no run; created if it is missing.

    Raises:
      UserError: the workdir holds a run, or the exported model is damaged.
    """
    check_link(workdir)
    write_json(os.path.join(workdir, _LINK), {'model': os.path.abspath(version)})
    load_config(version).save(workdir)


def named_weights(model: EnergyModel, weights: Weights) -> dict[str, dict[str, tf.Variable]]:
    """Returns the variables of a model, {name of a network: {path of a variable in the network: variable}}.

    Args:
      model: the model.
      weights: which weights to use: 'ema' (moving averages) or 'raw' (as trained).
    """
    chosen = {raw.name: Weights(weights).of(average, raw) for average, raw in model.averages}
    return {
        name: {weight.path.partition('/')[2]: weight.value for weight in network.weights}
        for name, network in chosen.items()
    }


def step_of(version: str) -> int | None:
    """Returns the training step of the exported model in the directory `version`; None if it is damaged."""
    try:
        return read_json(os.path.join(version, DESCRIPTION))['checkpoint_step']
    except (OSError, ValueError, KeyError):
        return None


def restore(model: EnergyModel, version: str, step: int | None = None) -> int:
    """Loads the weights of an exported model into a model, as its averaged and as its raw weights.

    Args:
      model: the model to fill.
      version: the version directory of the exported model, such as '.../saved_models/digits/1'.
      step: the training step that the exported model must have; None: any step.

    Returns:
      The training step of the exported model.

    Raises:
      UserError: the export is damaged, incomplete, or of another step.
    """
    import tensorflow as tf  # Imported late, so that looking up names does not need it.

    _verify(version)
    found = read_json(os.path.join(version, DESCRIPTION))['checkpoint_step']
    if step not in (None, found):
        raise UserError(f'--checkpoint_step={step}: {version} has only step {found}; drop the flag')
    try:
        checkpoint = tf.train.Checkpoint(exported_weights=named_weights(model, Weights.EMA))
        status = checkpoint.read(os.path.join(version, _VARIABLES))
        status.assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
        raise UserError(
            f'{version} does not fit the architecture in its {configuration.FILE_NAME} ({one_line(error)}): '
            f'{_REMEDY}'
        ) from error
    for average, raw in model.averages:
        raw.set_weights(average.get_weights())
    return found
