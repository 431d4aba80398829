"""The sampler that --mode=tune_sampler chose for a run: a file in the workdir, read for --sampler=tuned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base.errors import UserError
from drl_tf.base.files import read_json, write_json
from drl_tf.config.option_fields import text

if TYPE_CHECKING:
    from drl_tf.config.config import Config

FILE_NAME = 'tuned_sampler.json'
# The options that make a sampler. Drawing reads them all; --mode=tune_sampler searches over their values.
OPTIONS = (
    'num_levels',
    'sigma_min',
    'sigma_max',
    'sampling_levels',
    'mcmc_steps',
    'sampling_steps',
    'langevin_rule',
    'step_scale',
    'corrector',
    'corrector_step',
    'proposal',
    'noise_scale',
)


def options_of(config: Config) -> dict[str, Any]:
    """Returns the options that decide how a configuration samples, {option: value}.

    They are written in a standard form, so that two samplers can be compared by `==`. If the number of chain
    steps is the same at all noise levels, its tuple has one entry. The corrector 'auto' becomes the kind of
    chains that it stands for.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> found = options_of(Config().replace(mcmc_steps=(30,) * 6))
      >>> found['mcmc_steps'], found['corrector']
      ((30,), 'langevin')
    """
    values = {field.name: value for field, value in config.options() if field.name in OPTIONS}
    for name in ('mcmc_steps', 'sampling_steps'):
        if len(set(values[name])) == 1:
            values[name] = values[name][:1]
    return {**values, 'corrector': config.corrector}


def save(
    workdir: str | os.PathLike[str], options: Mapping[str, Any], measured: Mapping[str, Any], source: str
) -> str:
    """Writes the options and the measurements of a sampler to a file in a workdir; returns its path.

    Args:
      workdir: the run's directory.
      options: {option: value}, as `options_of` returns them for a configuration.
      measured: measurements to store with the options, {name: JSON value}, such as {'gradients': 300}.
      source: fingerprint of the weights that the sampler was tuned for, from `checkpoint.fingerprint`.
    """
    path = os.path.join(workdir, FILE_NAME)
    write_json(path, {'options': dict(options), 'measured': dict(measured), 'source': source})
    return path


def load(workdir: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the options of the sampler that was saved in a workdir, {option: value}.

    Raises:
      UserError: there is no file, or it is damaged.
    """
    path = os.path.join(workdir, FILE_NAME)
    if not os.path.exists(path):
        raise UserError(f'--sampler=tuned: {workdir} holds no {FILE_NAME}: run --mode=tune_sampler first')
    try:
        options = read_json(path)['options']
        if set(options) != set(OPTIONS):
            raise ValueError(f'it must hold {", ".join(OPTIONS)}')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is damaged ({error}): remove it, and run --mode=tune_sampler again'
        ) from error
    return with_tuples(options)


def check_source(workdir: str | os.PathLike[str], source: str) -> None:
    """Checks that the sampler in a workdir, which `load` has read, was tuned for the weights in use.

    A file that does not say for which weights it was tuned gives a warning.

    Args:
      workdir: the run's directory.
      source: fingerprint of the weights in use, from `checkpoint.fingerprint`.

    Raises:
      UserError: the sampler was tuned for other weights.
    """
    path = os.path.join(workdir, FILE_NAME)
    stored = read_json(path)
    if 'source' not in stored:
        logging.warning('%s does not say for which weights it was tuned: it is taken for these', path)
    elif stored['source'] != source:
        raise UserError(
            f'--sampler=tuned: {path} was tuned for other weights: run --mode=tune_sampler again, or drop '
            'the option'
        )


def with_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options that were read from JSON, with tuples in place of its lists.

    Examples:
      >>> with_tuples({'mcmc_steps': [3, 1], 'noise_scale': 1.0})
      {'mcmc_steps': (3, 1), 'noise_scale': 1.0}
    """
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def said(options: Mapping[str, Any]) -> str:
    """Formats options of a sampler, {option: value}, as flags of the command line.

    Options whose value is 0 or an empty tuple are left out.

    Examples:
      >>> said({'num_levels': 6, 'mcmc_steps': (3, 1), 'sampling_steps': (), 'corrector_step': 0.1})
      '--num_levels=6 --mcmc_steps=3,1 --corrector_step=0.1'
    """
    return ' '.join(f'--{name}={text(value)}' for name, value in options.items() if value not in (0, ()))
