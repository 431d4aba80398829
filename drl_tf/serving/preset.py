"""Reads and writes presets: directories that hold a model in the layout of keras-hub.

A preset holds these files:

config.json         class and configuration, for `keras.saving`
model.weights.h5    weights of all networks
metadata.json       versions, number of parameters, date
train.flags         all options of the training
manifest.json       sizes and SHA-256 of the files above
README.md           model card with YAML front matter; users may edit it
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras

from drl_tf import __version__
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import (
    check_writable,
    directory_written_aside,
    parse_json,
    read_json,
    read_sound_json,
    write_json,
    written_aside,
)
from drl_tf.config import chains
from drl_tf.config import config as configuration
from drl_tf.core.weights import Weights
from drl_tf.distributed import devices
from drl_tf.runs import beginnings, exported
from drl_tf.runs.keras_methods import KERAS_FILE
from drl_tf.serving import card, provenance

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

CONFIG = configuration.FILE_NAME
WEIGHTS = 'model.weights.h5'
_METADATA = 'metadata.json'
_FLAGS = 'train.flags'
CLASS = 'drl_tf>EnergyModel'  # The name that Keras registers.
_NEEDED = (CONFIG, WEIGHTS, _METADATA)
_MINE = (*_NEEDED, _FLAGS, seal.MANIFEST, exported.CARD)
_REMEDY = 'save or download it again'


def _shipped() -> dict[str, dict[str, Any]]:
    """Lists the models that come with the package.

    Returns:
      {name of a model: {'metadata': {'description': one sentence, 'path': directory of the model}}}.

    Examples:
      >>> _shipped()['digits']['metadata']['description'][:37]
      'An energy-based model of `digits`, 16'
    """
    versions = {name: exported.find(str(exported.shipped_models() / name)) for name in exported.names()}
    return {
        name: {'metadata': {'description': card.summary(configuration.load(path)), 'path': path}}
        for name, path in versions.items()
    }


class Presets:
    """Descriptor behind `EnergyModel.presets`: reading it lists the models that come with the package.

    The value is {name: {'metadata': {'description': one sentence, 'path': directory of the model}}}.
    """

    def __get__(self, instance: Any, owner: Any) -> dict[str, dict[str, Any]]:
        return _shipped()


def found(preset: str) -> str:
    """Finds the path of a model, for `EnergyModel.from_preset` to load.

    Args:
      preset: the name of a model that comes with the package; or the path of a preset, a `.keras` file, a run
        or an exported model.

    Returns:
      `preset` itself, if it is the path of a preset, a file, a run or one version of an exported model.
      Otherwise (a name, or a directory with versions 1, 2, ..): the directory of the newest version.

    Raises:
      UserError: there is no such model.
    """
    if os.path.isdir(preset) or preset in exported.names():
        return exported.readable(preset, 'preset')
    if is_preset(preset):
        return preset
    names = ', '.join(exported.names())
    raise UserError(
        f'preset={preset} must be one of {names}, a directory (a preset, a run or an exported model), a '
        '.keras file, hf://org/model or kaggle://org/model/keras/variant'
    )


def is_preset(path: str) -> bool:
    """Returns whether a path is a `.keras` file or the directory of a preset.

    A directory counts as a preset if its `config.json` has the entry `registered_name`, in which Keras
    stores the name of the model's class.
    """
    if path.endswith(KERAS_FILE) and os.path.isfile(path):
        return True
    return 'registered_name' in read_sound_json(os.path.join(path, CONFIG))


def verify(directory: str) -> None:
    """Checks the files in the directory of a preset; raises UserError if one is missing or damaged."""
    if not is_preset(directory):
        raise UserError(f'preset={directory} is not a preset: give a directory of save_to_preset')
    seal.verify(directory, _NEEDED, 'preset', _REMEDY, more_allowed=True)


def read(directory: str) -> dict[str, Any]:
    """Reads the configuration in a preset or a `.keras` file: the dict that `EnergyModel.from_config` takes.

    Args:
      directory: the directory of the preset, or the path of the `.keras` file.

    Raises:
      UserError: the preset is damaged or incomplete, or the file holds a model of another class.
    """
    if not os.path.isfile(directory):
        verify(directory)
        return read_json(os.path.join(directory, CONFIG))['config']
    with _of_keras_file(directory) as archive:
        saved = parse_json(archive.read(CONFIG))
    if saved.get('registered_name') != CLASS:
        raise UserError(f'preset={directory} holds a {saved.get("class_name")}, not a drl_tf.EnergyModel')
    return saved['config']


@contextlib.contextmanager
def _of_keras_file(path: str) -> Iterator[zipfile.ZipFile]:
    """Context manager: opens a `.keras` file; turns errors about damage into a `UserError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'preset={path} is damaged ({one_line(error)}): {_REMEDY}') from error


def load_weights(model: keras.Model, directory: str) -> None:
    """Loads the weights of a preset or a `.keras` file into a model; raises UserError if they do not fit.

    Args:
      model: the `drl_tf.EnergyModel`.
      directory: the directory of the preset, or the path of the `.keras` file.
    """
    if os.path.isfile(directory):
        with tempfile.TemporaryDirectory() as unpacked:
            with _of_keras_file(directory) as archive:
                archive.extract(WEIGHTS, unpacked)
            return load_weights(model, unpacked)
    path = os.path.join(directory, WEIGHTS)
    try:
        keras.Model.load_weights(model, path)  # That of `EnergyModel` would forget the heights.
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{path} does not fit its {CONFIG} ({one_line(error)}): {_REMEDY}') from error


def with_precision(config: Config, dtype: str) -> Config:
    """Returns a configuration with the type in which its networks compute.

    Args:
      config: the configuration of the model.
      dtype: 'float32', 'bfloat16' or 'auto', as in `EnergyModel.from_preset`.

    Raises:
      UserError: there is no such type; or `dtype` is 'bfloat16', and the model draws by chains of MALA or
        HMC, which compare log densities.
    """
    config = config.replace(precision=dtype)  # Refuses an unknown type.
    compares = config.corrector in chains.ADJUSTED
    if dtype == 'bfloat16' and compares:
        raise UserError(
            f'dtype=bfloat16 is too coarse for the log densities that chains of {config.corrector} compare: '
            'give float32'
        )
    return config.replace(precision=devices.resolve_precision('float32' if compares else dtype))


def write(
    public: keras.Model,
    model: EnergyModel,
    config: Config,
    step: int,
    directory: str,
    beginning: Mapping[str, Any],
) -> None:
    """Writes a preset to a directory, whole or not at all; it replaces a preset in the directory.

    Files that a user has added to the replaced preset stay.

    Args:
      public: the `drl_tf.EnergyModel` to save.
      model: the `core.EnergyModel` inside `public`, with the networks.
      config: the configuration of the run that trained the model.
      step: number of training steps taken so far, including those of `fit`.
      directory: the directory of the preset.
      beginning: where the weights come from, for the model card: a dict. 'origin' is a record of the imported
        network from which training began, or {} if there was none. 'fitted_steps' is how many of the steps
        `EnergyModel.fit` took. 'heights' holds the constants that turn energies into log p, as {attribute of
        `Heights`: value}. 'seconds' is the training time, and 'device' its device. These three may be None.
        Further entries are results, those of `provenance.history`.

    Raises:
      UserError: the directory holds files but no preset, or cannot be written to.
    """
    directory = os.path.realpath(directory)
    check_writable(directory, '--directory')
    if os.path.isdir(directory) and os.listdir(directory) and not is_preset(directory):
        raise UserError(f'directory={directory} holds other files than a preset: give a new directory')
    try:
        with directory_written_aside(directory, _MINE) as aside:
            write_json(os.path.join(aside, CONFIG), keras.saving.serialize_keras_object(public))
            public.save_weights(os.path.join(aside, WEIGHTS))
            write_json(os.path.join(aside, _METADATA), _metadata(model))
            card.write_flags(os.path.join(aside, _FLAGS), config)
            seal.seal(aside)
            known = {**provenance.NOTHING, **beginning}
            name = os.path.basename(directory)
            _write_card(os.path.join(aside, exported.CARD), name, model, config, step, known)
    except OSError as error:
        raise UserError(
            f'preset {directory} could not be written ({one_line(error)}): fix that, then save it again'
        ) from error


def _metadata(model: EnergyModel) -> dict[str, Any]:
    """Returns library versions and the number of parameters; averaged copies of weights do not count."""
    return {
        'keras_version': keras.__version__,
        'drl_tf_version': __version__,
        'parameter_count': sum(raw.count_params() for _, raw in model.averages),
        'date_saved': datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d@%H:%M:%S'),
    }


def _write_card(
    path: str, name: str, model: EnergyModel, config: Config, step: int, known: Mapping[str, Any]
) -> None:
    """Writes the model card, with the front matter that model hubs read."""
    is_unknown = beginnings.imported(known) or card.is_exact(config)
    front = [
        '---',
        'library_name: drl_tf',
        f'license: {"unknown" if is_unknown else "apache-2.0"}',
        'pipeline_tag: unconditional-image-generation',
        'tags:',
        '- keras',
        '- energy-based-model',
        '- diffusion-recovery-likelihood',
        '---',
    ]
    use = [
        '    import drl_tf',
        f"    model = drl_tf.EnergyModel.from_preset('{name}')   # This directory, or hf://... where it is.",
        '    images = model.generate(16)',
    ]
    sections = [
        '\n'.join(front),
        f'# {name}',
        *card.body(model, config, step, Weights.EMA, known, _FLAGS),
        *card.section('Use', use),
    ]
    with written_aside(path) as file:
        file.write('\n\n'.join(sections) + '\n')
