"""Finds out how a model was trained and scored, from the files of its run."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drl_tf.base.files import read_sound_json
from drl_tf.config import config as configuration
from drl_tf.config.data_options import published
from drl_tf.core.weights import Weights
from drl_tf.runs import beginnings, checkpoint, exported, samples, step_log
from drl_tf.runs.heights import effort_of_annealing, is_sound_direct

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel

NOTHING: dict[str, Any] = {
    'evaluations': [],
    'likelihood': None,
    'direct': None,
    'density': None,
    **beginnings.NEW,
}


def history(
    workdir: str, step: int, weights: Weights = Weights.EMA, model: EnergyModel | None = None
) -> dict[str, Any]:
    """Finds out how a model was trained and scored, from the files of its run.

    Args:
      workdir: the run's directory.
      step: training step of the exported checkpoint. Only results for this step count.
      weights: 'ema' (averages) or 'raw'. Only results for these weights count.
      model: the loaded model; results that were found with other weights do not count, such as those of a run
        that was trained anew in the same directory. None: only step and kind of the weights are compared.

    Returns:
      A dict with these entries; an entry that is not known is None:

      - 'origin': if the run began with a network imported from the code of the method's authors, a dict that
        tells where it came from; otherwise {}.
      - 'start': if the run began with --init_from, a dict about the other model: 'init_from' (its name),
        'weights', 'step', 'dataset', 'recipe' and 'imported' (whether its network was); otherwise {}.
      - 'fitted_steps': the number of training steps that `EnergyModel.fit` took.
      - 'heights': constants that turn energies into log p, {name: value}. The names are the attributes of the
        dataclass `drl_tf.runs.heights.Heights`; 'log_z' is log Z of each noise level.
      - 'seconds' and 'device': the training time up to this step, and the device.
      - 'evaluations': a list of the results of --mode=evaluate, without local paths.
      - 'likelihood': the result of --mode=likelihood by annealed importance sampling; of several, the best by
        `runs.heights.effort_of_annealing`.
      - 'direct': the result of --mode=likelihood --method=direct; of several, the one over the most images.
      - 'density': the result of --mode=density, for points of the plane.
    """
    sha = samples.fingerprint(model, weights) if model else None
    evaluations, likelihoods, densities = (
        _results(workdir, directory, step, weights, sha)
        for directory in ('evaluation', 'likelihood', 'density')
    )
    D = math.prod(configuration.load(workdir).image_shape)
    direct = max(
        (result for result in likelihoods if is_sound_direct(result, D)),
        key=lambda result: result['test']['num_images'],
        default=None,
    )
    density = max(filter(_is_density, densities), key=_effort_of_density, default=None)
    carried = beginnings.beginning(workdir)
    if trained_on := carried['start'].get('dataset'):
        carried['start'] = {**carried['start'], 'dataset': published(trained_on)}
    if measured := (direct or density or {}).get('summary'):
        carried['heights'] = measured
    found = {
        **NOTHING,
        **carried,
        'evaluations': [_without_path(result) for result in evaluations],
        'likelihood': max(filter(_is_annealed, likelihoods), key=effort_of_annealing, default=None),
        'direct': direct,
        'density': density,
    }
    if exported.source(workdir):
        return found
    surroundings = read_sound_json(os.path.join(checkpoint.find(workdir, step), 'surroundings.json'))
    return {**found, 'seconds': _seconds(workdir, step), 'device': surroundings.get('device')}


def _results(
    workdir: str, directory: str, step: int, weights: Weights, sha: str | None
) -> list[dict[str, Any]]:
    """Reads the sound results in a directory of a run that are of this step and of these weights."""
    paths = sorted(glob.glob(os.path.join(glob.escape(workdir), directory, '*.json')))
    return [
        result
        for result in map(read_sound_json, paths)
        if (result.get('step'), result.get('weights')) == (step, weights)
        and (sha is None or result.get('weights_sha256', sha) == sha)
    ]


def _without_path(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result of --mode=evaluate that does not tell where the user's own files are."""
    if 'real' not in result:
        return result
    real = re.sub(r'( split of \S+) /.*( at \d)', r'\1\2', result['real'])
    real = re.sub(r'(?<= split of )hf:.*(?= at \d)', lambda found: published(found[0]), real)
    real = re.sub(r'(?<=pool_3 in ).*(?=, which)', lambda found: os.path.basename(found[0]), real)
    return {**result, 'real': real}


def _is_annealed(result: Mapping[str, Any]) -> bool:
    return {'log_z_low', 'log_z_high', 'transitions', 'num_chains'} <= result.keys()


def _is_density(result: Mapping[str, Any]) -> bool:
    return '0' in result.get('levels', {})


def _effort_of_density(result: Mapping[str, Any]) -> tuple[bool, int]:
    """Tells which of several results to take: one that has the heights, then the one of most annealing."""
    return 'summary' in result, result['num_chains'] * result['ais_steps']


def _seconds(workdir: str, step: int) -> float | None:
    """Computes the seconds of training up to a step from the run's log; None if it is missing or damaged."""
    path = os.path.join(workdir, 'metrics.jsonl')
    if not os.path.exists(path):
        return None
    batch = configuration.load(workdir).training.batch_size
    total = 0.0
    last = 0
    try:
        with open(path, encoding='utf-8') as file:
            for line in map(step_log.parsed, file):
                if line['step'] <= step:
                    total += (line['step'] - last) * batch / line['images_per_second']
                    last = line['step']
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    return total
