"""The paper's ablation over T and K (`--mode=ablate`): each row is a run on the same number of images."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import logging

from drl_tf.base.errors import DivergenceError, UserError
from drl_tf.base.files import digest, held, read_json, write_json, written_aside
from drl_tf.core.weights import Weights
from drl_tf.distributed import workers
from drl_tf.evaluation import evaluate
from drl_tf.runs import checkpoint, pictures
from drl_tf.runs.request import SampleRequest
from drl_tf.training import train

if TYPE_CHECKING:
    from drl_tf.config.config import Config

# The options of flags/recipe_t1k.flags, and those that undo what belongs to 't6'.
_T1K: dict[str, Any] = dict(
    recipe='t1k',
    schedule='t1k',
    num_levels=999,
    mcmc_steps=(0,),
    noise_scale=1.0,
    act='swish',
    final_act='swish',
    energy_l2=0.0,
    shared_noise=False,
    energy_scale='auto',
    precision='float32',
)
_T6: dict[str, Any] = dict(recipe='t6', schedule='t6')
ROWS: dict[str, dict[str, Any]] = {
    **{f'T6_K{K}': dict(_T6, num_levels=6, mcmc_steps=(K,)) for K in (10, 20, 30, 50)},
    'T1000_K0': dict(_T1K, objective='contrastive'),
    'T1000_K0_DSM': dict(_T1K, objective='dsm'),
    # The bound of the loss for six levels is too tight for one.
    'T1_K180': dict(_T6, num_levels=1, mcmc_steps=(180,), max_loss=1e3),
}
_DONE = 'row.json'


def ablate(config: Config, workdir: str, num_samples: int, weights: str = 'ema') -> dict[str, str] | None:
    """Trains and scores a model for each row in turn, skipping rows that are finished.

    After each row it writes the table and the plot of all rows so far.

    Args:
      config: a configuration of recipe 't6'; the rows change T, K and what belongs to T = 1000, and keep the
        number of steps.
      workdir: a directory, in which each row has its own run.
      num_samples: how many images to score.
      weights: 'ema' or 'raw'.

    Returns:
      On the chief, what was written: {label: path}. On other workers None.

    Raises:
      UserError: a row does not fit the configuration, or as `train.train` and `evaluate.evaluate`.
      Interrupted: a signal came; the same command continues.
    """
    found: dict[str, dict[str, Any]] = {}
    places = None
    for name, changed in configs_of(config).items():
        found[name] = row(name, changed, os.path.join(workdir, name), num_samples, weights)
        places = workers.by_chief(lambda: _write(found, workdir))
    return places


def configs_of(config: Config) -> dict[str, Config]:
    """The configuration of each row, by name; raises UserError if one is not valid."""
    if config.diffusion.recipe != 't6':
        raise UserError(
            f'--mode=ablate sets the recipe of each row: give --recipe=t6, not {config.diffusion.recipe}'
        )
    configs = {}
    for name, changes in ROWS.items():
        try:
            configs[name] = config.replace(**{**changes, 'max_minutes': 0.0, 'evaluate_every': 0})
        except UserError as error:
            raise UserError(f'--mode=ablate, row {name}: {error}') from error
    return configs


def row(name: str, config: Config, workdir: str, num_samples: int, weights: str) -> dict[str, Any]:
    """The figures of a row, in types of JSON; those on disk if they are of the same settings."""
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
    stored = workers.told_by_chief(lambda: _stored(path))
    if stored and {key: stored.get(key) for key in wanted} == wanted:
        print(f'{name} is finished: {path}')
        return stored
    training = trained(name, config, workdir)
    found = {**wanted, **training, **scored(config, workdir, num_samples, weights)}
    workers.by_chief(lambda: write_json(path, found))
    return found


def _stored(path: str) -> dict[str, Any] | None:
    """The content of a JSON file; None if it is missing or, with a warning, damaged."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logging.warning('%s is damaged (%s): scoring the row again', path, error)
        return None


def trained(name: str, config: Config, workdir: str) -> dict[str, Any]:
    """Trains a row to its end, or until it diverges for good.

    Returns:
      A dict of 'diverged_at', the step or None, and 'training_images', how many images it had seen by then.
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


def scored(config: Config, workdir: str, num_samples: int, weights: str) -> dict[str, Any]:
    """The scores of a row's last checkpoint, named as in `metrics.score.score`; empty if there is none."""
    if not workers.told_by_chief(lambda: checkpoint.steps(workdir)):
        return {}
    request = SampleRequest.of(config, num_samples, weights=Weights(weights))
    places: Any = evaluate.evaluate(config, workdir, request)
    return workers.told_by_chief(lambda: _stored(places['evaluation']))


def _write(found: Mapping[str, dict[str, Any]], workdir: str) -> dict[str, str]:
    """Writes the table as CSV and Markdown, and the plot; returns where they are."""
    scored_row: dict[str, Any] = next((row for row in found.values() if 'extractor' in row), {})
    names = [key for key in scored_row if key.startswith(('frechet', 'fid'))]
    settings = ('row', 'T', 'K', 'objective', 'training_images', 'step', 'diverged_at')
    known = (*settings, *names, 'floor', 'class_agreement')
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
        pictures.save_bars(paths['png'], names[0], bars, floor)
        places['plot'] = paths['png']
    return places


def _label(row: Mapping[str, Any]) -> str:
    """The label of a row's bar."""
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
