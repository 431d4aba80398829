"""Runs ablations (--mode=ablate): trains and scores a model for each row of a table."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base.errors import DivergenceError
from drl_tf.base.files import digest, held, read_json, write_json, written_aside
from drl_tf.config import combinations
from drl_tf.core.weights import Weights
from drl_tf.distributed import chief
from drl_tf.evaluation import evaluate
from drl_tf.experiments import direct_likelihood
from drl_tf.experiments.ablation_rows import configs_of
from drl_tf.runs import charts, workdirs
from drl_tf.runs.request import SampleRequest
from drl_tf.training import train

if TYPE_CHECKING:
    from drl_tf.config.config import Config

_DONE = 'row.json'


def ablate(config: Config, workdir: str, num_samples: int, weights: Weights = Weights.EMA) -> dict[str, str]:
    """Trains and scores a model for each row of an ablation table, and writes the table.

    Scores compare samples of the model with real images; one is the Fréchet distance. Finished rows are
    skipped. The table and its plot are written anew after each row.

    Args:
      config: the configuration that all rows share. Its option `recipe`, 't6' or 'preconditioned', chooses
        the table.
      workdir: a directory; each row has a run in a sub-directory.
      num_samples: number of samples to score for each row.
      weights: 'ema' (averages) or 'raw'.

    Returns:
      Paths of the files written, {label: path}.

    Raises:
      UserError: a row contradicts `config`, or cannot be trained or evaluated.
      Interrupted: a signal came; run the command again to resume.
    """
    found: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    for name, changed in configs_of(config).items():
        found[name] = row(name, changed, os.path.join(workdir, name), num_samples, weights)
        places = _write(found, workdir)
    return places


def row(name: str, config: Config, workdir: str, num_samples: int, weights: Weights) -> dict[str, Any]:
    """Trains and scores the model of one row of an ablation table, or reads its stored result.

    Args:
      name: name of the row.
      config: the configuration of the row.
      workdir: directory of the row's run.
      num_samples: number of samples to score.
      weights: 'ema' (averages) or 'raw'.

    Returns:
      The settings and scores of the row, {name: JSON value}. Examples are 'T' (the number of noise levels),
      'K' (Langevin steps at each level), 'seed', and 'bits_per_dim' for --energy=preconditioned.
    """
    wanted = {
        'row': name,
        'T': config.diffusion.num_levels + (config.diffusion.schedule == 't1k'),
        'K': config.diffusion.mcmc_steps[0],
        'objective': config.training.objective,
        'seed': config.training.seed,
        'num_samples': num_samples,
        'weights': weights,
        'settings': digest(json.dumps(dataclasses.asdict(config))),
    }
    path = os.path.join(workdir, _DONE)
    stored = _stored(path)
    if stored and {key: stored.get(key) for key in wanted} == wanted:
        print(f'{name} is finished: {path}')
        return stored
    training = trained(name, config, workdir)
    scores = scored(config, workdir, num_samples, weights)
    found = {**wanted, **training, **scores, **_weighed(config, workdir, weights)}
    chief.only(write_json)(path, found)
    return found


@chief.only
def _stored(path: str) -> dict[str, Any] | None:
    """Reads a JSON file; returns None if it is missing or, with a warning, damaged."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logging.warning('%s is damaged (%s): scoring the row again', path, error)
        return None


def trained(name: str, config: Config, workdir: str) -> dict[str, Any]:
    """Trains the model of one row of an ablation table.

    Args:
      name: name of the row, for messages.
      config: the configuration of the row.
      workdir: directory of the row's run.

    Returns:
      {'diverged_at': training step at which the loss diverged, or None if it did not; 'training_images':
      number of training steps before the end or the divergence, times the batch size}.
    """
    print(f'row {name}', flush=True)
    try:
        train.train(config, workdir)
        diverged_at = None
    except DivergenceError as error:
        logging.warning('row %s: %s', name, error)
        diverged_at = error.step
    steps = config.training.train_steps if diverged_at is None else diverged_at
    return {'diverged_at': diverged_at, 'training_images': steps * config.training.batch_size}


def scored(config: Config, workdir: str, num_samples: int, weights: Weights) -> dict[str, Any]:
    """Scores samples of the model that was trained for one row of an ablation table.

    Args:
      config: the configuration of the row.
      workdir: directory of the row's run.
      num_samples: number of samples to draw.
      weights: 'ema' (averages) or 'raw'.

    Returns:
      Scores of the last checkpoint, such as its Fréchet distance from real images, and the sampling options,
      {name: value}; {} if the run has no checkpoint.
    """
    if not chief.only(workdirs.steps)(workdir):
        return {}
    request = SampleRequest.of(config, num_samples, weights=weights)
    places = evaluate.evaluate(config, workdir, request)
    return chief.only(read_json)(places['evaluation'])


def _weighed(config: Config, workdir: str, weights: Weights) -> dict[str, float]:
    """Computes {'bits_per_dim': number} of test images; {} without a checkpoint, or without log densities."""
    if combinations.likelihood_method(config) != 'direct' or not chief.only(workdirs.steps)(workdir):
        return {}

    @chief.only
    def bits() -> float:
        written = direct_likelihood.likelihood(config, workdir, weights)['likelihood']
        return read_json(written)['test']['density_bennett']

    return {'bits_per_dim': bits()}


@chief.only
def _write(found: Mapping[str, dict[str, Any]], workdir: str) -> dict[str, str]:
    """Writes the table as CSV and Markdown, and the plot; returns {label: path}."""
    scored_row: dict[str, Any] = next((row for row in found.values() if 'extractor' in row), {})
    names = [key for key in scored_row if key.startswith(('frechet', 'fid'))]
    settings = ('row', 'T', 'K', 'objective', 'training_images', 'step', 'diverged_at')
    known = (*settings, *names, 'floor', 'class_agreement', 'bits_per_dim')
    rows = [{key: row.get(key) for key in known} for row in found.values()]
    columns = [key for key in known if any(row[key] is not None for row in rows)]
    paths = {kind: os.path.join(workdir, f'ablation.{kind}') for kind in ('csv', 'md', 'png')}
    with held(workdir), written_aside(paths['csv']) as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore')
        writer.writeheader()
        writer.writerows(rows)
    with written_aside(paths['md']) as file:
        file.write(f'| {" | ".join(columns)} |\n|{"---|" * len(columns)}\n')
        file.writelines(f'| {" | ".join(_text(row[key]) for key in columns)} |\n' for row in rows)
    places = {'table': paths['csv'], 'table for Markdown': paths['md']}
    if names:
        bars = {_label(row): row[names[0]] for row in rows}
        floor = next((row['floor'] for row in rows if row.get('floor')), None)
        charts.save_bars(paths['png'], names[0], bars, floor)
        places['plot'] = paths['png']
    return places


def _label(row: Mapping[str, Any]) -> str:
    """Returns the label of a row's bar."""
    if row['diverged_at'] is None:
        return row['row']
    return f'{row["row"]}, diverged at step {row["diverged_at"]:,}'


def _text(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, float):
        return f'{value:,.4g}'
    if isinstance(value, int):
        return f'{value:,}'
    return str(value)
