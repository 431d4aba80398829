"""Reads and writes presets, directories that hold a model in the layout of keras-hub:

config.json         class and configuration, for `keras.saving`
model.weights.h5    weights of all networks
metadata.json       versions, number of parameters, date
train.flags         all options of the training
manifest.json       sizes and SHA-256 of the files above
README.md           model card with YAML front matter; users may edit it
"""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from drl_tf import __version__
from drl_tf.base import seal
from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import (
    check_writable,
    read_json,
    read_sound_json,
    sync,
    write_json,
    written_aside,
)
from drl_tf.config import config as configuration
from drl_tf.runs import exported
from drl_tf.serving import card, provenance

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

CONFIG = configuration.FILE_NAME
WEIGHTS = 'model.weights.h5'
_METADATA = 'metadata.json'
_FLAGS = 'train.flags'
_NEEDED = (CONFIG, WEIGHTS, _METADATA)
_REMEDY = 'save or download it again'


def shipped() -> dict[str, dict[str, Any]]:
    """Lists the models that come with the package, {name: {'metadata': {'description', 'path'}}}.

    Examples:
      >>> shipped()['digits']['metadata']['description'][:37]
      'An energy-based model of `digits`, 16'
    """
    versions = {name: exported.find(name) for name in exported.names()}
    return {
        name: {'metadata': {'description': card.summary(configuration.load(path)), 'path': path}}
        for name, path in versions.items()
    }


def is_preset(directory: str) -> bool:
    """Returns whether a directory holds a preset."""
    return 'registered_name' in read_sound_json(os.path.join(directory, CONFIG))


def verify(directory: str) -> None:
    """Checks the files of a preset; raises UserError if it is missing, damaged or incomplete."""
    if not is_preset(directory):
        raise UserError(f'preset={directory} is not a preset: give a directory of save_to_preset')
    seal.verify(directory, _NEEDED, 'preset', _REMEDY, more_allowed=True)


def read(directory: str) -> dict[str, Any]:
    """Reads the configuration of a preset, the argument of `EnergyModel.from_config`.

    Raises:
      UserError: the preset is damaged or incomplete.
    """
    verify(directory)
    return read_json(os.path.join(directory, CONFIG))['config']


def load_weights(model: keras.Model, directory: str) -> None:
    """Loads the weights of a preset into a model; raises UserError if they do not fit."""
    path = os.path.join(directory, WEIGHTS)
    try:
        keras.Model.load_weights(model, path)  # That of `EnergyModel` would forget the heights.
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{path} does not fit its {CONFIG} ({one_line(error)}): {_REMEDY}') from error


def write(
    public: keras.Model,
    model: EnergyModel,
    config: Config,
    step: int,
    directory: str,
    beginning: Mapping[str, Any],
) -> None:
    """Writes a preset to a directory; a preset that is there is replaced.

    Args:
      public: the `drl_tf.EnergyModel` to save.
      model: the `core.EnergyModel` inside `public`, with the networks.
      config: the configuration of the run that trained the model.
      step: number of steps for which the model was trained.
      directory: the directory of the preset.
      beginning: where the weights come from, a result of `provenance.beginning`.

    Raises:
      UserError: the directory holds other files, or cannot be written to.
    """
    check_writable(directory, '--directory')
    if os.path.isdir(directory) and os.listdir(directory) and not is_preset(directory):
        raise UserError(f'directory={directory} holds other files than a preset: give a new directory')
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix='writing-', dir=directory) as aside:
            serialized = keras.saving.serialize_keras_object(public)
            write_json(os.path.join(aside, CONFIG), serialized)
            public.save_weights(os.path.join(aside, WEIGHTS))
            write_json(os.path.join(aside, _METADATA), _metadata(model))
            card.write_flags(os.path.join(aside, _FLAGS), config)
            seal.seal(aside)
            name = os.path.basename(os.path.abspath(directory))
            known = {**provenance.NOTHING, **beginning}
            _write_card(os.path.join(aside, exported.CARD), name, model, config, step, known)
            for file in sorted(os.listdir(aside)):
                os.replace(os.path.join(aside, file), os.path.join(directory, file))
        sync(directory)
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
    front = [
        '---',
        'library_name: drl_tf',
        f'license: {"unknown" if known["origin"] else "apache-2.0"}',
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
        *card.body(model, config, step, 'ema', known, _FLAGS),
        *card.section('Use', use),
    ]
    with written_aside(path) as file:
        file.write('\n\n'.join(sections) + '\n')
