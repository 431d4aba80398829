"""Checks the names of the sets that --mode=ood compares with the test split, without TensorFlow."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.config.data_options import Data
from drl_tf.data.dataset_spec import DatasetSpec
from drl_tf.data.dataset_table import find_spec, resolve
from drl_tf.data.known_datasets import DATASETS
from drl_tf.runs import exported

if TYPE_CHECKING:
    from drl_tf.config.config import Config

FOLDER = 'folder:'
ALTERED = ('shuffled', 'inverted', 'white', 'black', 'noisy', 'shifted', 'blurred', 'uniform')
MADE = ('noise', 'constant', 'letters', 'interpolation')


def check(names: Sequence[str], config: Config) -> None:
    """Checks the names of the sets of images for --mode=ood, without reading any image.

    Args:
      names: the values of --ood, such as 'noise', the name of a dataset, or 'folder:DIR'.
      config: the configuration of the model.

    Raises:
      UserError: a name is unknown or given twice; a directory is missing; or a dataset is the one that the
        model was trained on, holds points instead of images, or cannot be loaded in the size of the model's
        images.
    """
    if len(set(names)) < len(names):
        raise UserError(f'--ood={",".join(names)} names a set twice: drop one of the two')
    for name in names:
        if name.startswith(FOLDER) or name == 'folder':
            directory = name.removeprefix('folder').removeprefix(':')
            if not os.path.isdir(directory):
                raise UserError(f'--ood={name} is not there: give folder:DIR with a directory of images')
        elif name == config.data.dataset:
            raise UserError(f'--ood={name} is the dataset of the model itself: give another')
        elif name not in (*ALTERED, *MADE):
            if _spec_of(name).source == 'toy':
                raise UserError(f'--ood={name} holds points of the plane, not images: give another')
            data_of(name, config)


def _spec_of(name: str) -> DatasetSpec:
    """Returns the description of a dataset; raises UserError if --ood names neither a dataset nor a set."""
    try:
        return find_spec(name)
    except UserError as error:
        known = [*MADE, *ALTERED, FOLDER + 'DIR']
        close = difflib.get_close_matches(name, [*known, *DATASETS], n=1)
        hint = f', did you mean {close[0]}? Or' if close else ':'
        raise UserError(
            f'--ood={name} is unknown{hint} give one of {", ".join(known)}, or the name of a dataset'
        ) from error


def data_of(name: str, config: Config) -> Data:
    """Returns options that load another dataset in the shape of a model's images, for --mode=ood.

    Args:
      name: name of the dataset.
      config: the configuration of the model.

    Raises:
      UserError: the dataset cannot be loaded in the size of the model's images.
    """
    sources = (find_spec(name).source, find_spec(config.data.dataset).source)
    prepared = sources in (('tfds', 'tfds'), ('tfds', 'digits'))  # The same --data_dir holds both.
    directories = ('data_dir', 'manual_dir') if prepared else ()
    kept = ('image_size', 'image_width', 'image_channels', *directories)
    try:
        return resolve(Data(dataset=name, **{option: getattr(config.data, option) for option in kept}))
    except UserError as error:
        raise UserError(f'--ood={name} does not go with this model: {error}') from error


def background_of(background: str, config: Config) -> tuple[str, Config]:
    """Finds the background model of --mode=ood: its log density is subtracted from the model's.

    Args:
      background: value of --background: the directory of a run or of an exported model, or the name of a
        model that comes with the package.
      config: the configuration of the model that the background model is compared with.

    Returns:
      The directory of the run or of the exported version, and the configuration of the background model.

    Raises:
      UserError: there is no such model, it is damaged or has no weights, or its images have another shape.
    """
    directory = exported.trained(background, '--background')
    is_export = exported.source(directory) == directory
    found = exported.load_config(directory) if is_export else configuration.load(directory)
    if found.image_shape != config.image_shape:
        raise UserError(
            f'--background={background} is a model of images {list(found.image_shape)}, not '
            f'{list(config.image_shape)} [H, W, C]: give a model of the same size'
        )
    return directory, found
