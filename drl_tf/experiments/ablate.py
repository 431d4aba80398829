"""The paper's ablation over T and K (`--mode=ablate`): each row a run of its own, all of as many training
images."""

import csv
import dataclasses
import json
import os

from absl import logging

from drl_tf.base.errors import DivergenceError, UserError
from drl_tf.base.files import digest, held, read_json, write_json, written_aside
from drl_tf.core.weights import Weights
from drl_tf.distributed import workers
from drl_tf.evaluation import evaluate
from drl_tf.runs import checkpoint, pictures
from drl_tf.runs.request import SampleRequest
from drl_tf.training import train

# What flags/recipe_t1k.flags says, and what it needs besides.
_T1K = dict(
    recipe='t1k', schedule='t1k', num_levels=999, mcmc_steps=(0,), noise_scale=1.0, act='swish',
    final_act='swish', energy_l2=0.0,
    shared_noise=False, energy_scale='auto', precision='float32',
)  # fmt: skip
_T6 = dict(recipe='t6', schedule='t6')
ROWS = {
    **{f'T6_K{K}': dict(_T6, num_levels=6, mcmc_steps=(K,)) for K in (10, 20, 30, 50)},
    'T1000_K0': dict(_T1K, objective='contrastive'),
    'T1000_K0_DSM': dict(_T1K, objective='dsm'),
    'T1_K180': dict(
        _T6, num_levels=1, mcmc_steps=(180,), max_loss=1e3
    ),  # A bound for six levels is too tight for one.
}
_DONE = 'row.json'


def ablate(config, workdir, num_samples, weights='ema'):
    """Trains and scores a model for each row, one after the other; a row that is finished is not done again.

    After each one the table and the plot are written of all so far.

    Args:
      config: a `Config` of recipe 't6'; the rows differ from it in T, K and what belongs to T = 1000, and
        have its number of steps.
      workdir: a directory, in which each row has a run of its own.
      num_samples: how many images to sample for a score.
      weights: 'ema' or 'raw'.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: a row does not go with the configuration, or as `train.train` and `evaluate.evaluate`.
      Interrupted: a signal came; the same command goes on.
    """
    found = {}
    for name, changed in configs_of(config).items():
        found[name] = row(name, changed, os.path.join(workdir, name), num_samples, weights)
        places = workers.by_chief(lambda: _write(found, workdir))
    return places


def configs_of(config):
    """The `Config` of each row, {name: configuration}; raises UserError where one is none."""
    if config.diffusion.recipe != 't6':
        raise UserError(
            f'--mode=ablate has rows of its own recipes: give --recipe=t6, not {config.diffusion.recipe}'
        )
    configs = {}
    for name, changes in ROWS.items():
        try:
            configs[name] = config.replace(**{**changes, 'max_minutes': 0.0, 'evaluate_every': 0})
        except UserError as error:
            raise UserError(f'--mode=ablate, row {name}: {error}') from error
    return configs


def row(name, config, workdir, num_samples, weights):
    """The figures of a row, a dict ready for JSON: stored ones where they are of the same numbers."""
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
    row = {**wanted, **trained(name, config, workdir), **scored(config, workdir, num_samples, weights)}
    workers.by_chief(lambda: write_json(path, row))
    return row


def _stored(path):
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logging.warning('%s is damaged (%s): the row is scored again', path, error)
        return None


def trained(name, config, workdir):
    """Trains a row to its end, or to where its energies ran away for good.

    Returns:
      dict of 'diverged_at', the step or None; 'training_images', how many the network had seen by then.
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


def scored(config, workdir, num_samples, weights):
    """The scores of a row's last sound checkpoint, as `metrics.score.score` names them; nothing where there
    is none."""
    if not workers.told_by_chief(lambda: checkpoint.steps(workdir)):
        return {}
    places = evaluate.evaluate(
        config, workdir, SampleRequest.of(config, num_samples, weights=Weights(weights))
    )
    return workers.told_by_chief(lambda: _stored(places['evaluation']))


def _write(found, workdir):
    """The table as CSV and Markdown, and the plot."""
    names = [
        key
        for key in next((row for row in found.values() if 'extractor' in row), {})
        if key.startswith(('frechet', 'fid'))
    ]
    columns = (
        'row',
        'T',
        'K',
        'objective',
        'training_images',
        'step',
        'diverged_at',
        *names,
        'floor',
        'class_agreement',
    )
    rows = [{key: row.get(key) for key in columns} for row in found.values()]
    columns = [key for key in columns if any(row[key] is not None for row in rows)]
    paths = {kind: os.path.join(workdir, f'ablation.{kind}') for kind in ('csv', 'md', 'png')}
    with held(workdir), written_aside(paths['csv']) as file:
        writer = csv.DictWriter(file, columns, extrasaction='ignore')
        writer.writeheader()
        writer.writerows(rows)
    with written_aside(paths['md']) as file:
        file.write(f'| {" | ".join(columns)} |\n|{"---|" * len(columns)}\n')
        file.writelines(f'| {" | ".join(_text(row[key]) for key in columns)} |\n' for row in rows)
    if names:
        bars = {_label(row): row[names[0]] for row in rows}
        pictures.save_bars(
            paths['png'], names[0], bars, next((row['floor'] for row in rows if row.get('floor')), None)
        )
    places = {'table': paths['csv'], 'table for Markdown': paths['md']}
    return {**places, 'plot': paths['png']} if names else places


def _label(row):
    """What stands beside a row's bar."""
    return (
        row['row'] if row['diverged_at'] is None else f'{row["row"]}, diverged at step {row["diverged_at"]:,}'
    )


def _text(value):
    if value is None:
        return ''
    return (
        f'{value:,.4g}'
        if isinstance(value, float)
        else f'{value:,}'
        if isinstance(value, int)
        else str(value)
    )
