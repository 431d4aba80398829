"""What a run's files say of how its model was made and of its scores, for the model card."""

import glob
import json
import os

from drl_tf.base.files import read_json
from drl_tf.config import config as configuration
from drl_tf.runs import authors_checkpoint, checkpoint, exported

BEGINNING = {'origin': {}, 'fitted_steps': 0}
NOTHING = {
    'seconds': None,
    'device': None,
    'evaluations': [],
    'likelihood': None,
    'direct': None,
    'density': None,
    **BEGINNING,
}


def history(workdir, step, weights):
    """What a run's files say of its training and its scores, for `write`.

    Args:
      workdir: the directory of the run.
      step: the checkpoint that is exported.
      weights: 'ema' or 'raw'.

    Returns:
      dict of 'seconds' in training up to the step, 'device', what `beginning` gives and, of that step and
      those weights, 'evaluations', a list of results, 'likelihood', the result of the most annealing,
      'direct', that without annealing, and 'density', that of points; what is not known is None or empty.
    """

    def results(directory):
        paths = sorted(glob.glob(os.path.join(glob.escape(workdir), directory, '*.json')))
        return [
            result
            for result in map(_read, paths)
            if (result.get('step'), result.get('weights')) == (step, weights)
        ]

    likelihoods = [
        result
        for result in results('likelihood')
        if {'log_z_low', 'log_z_high', 'transitions', 'num_chains'} <= result.keys()
    ]
    likelihood = max(
        likelihoods, key=lambda result: result['transitions'] * result['num_chains'], default=None
    )
    direct = [result for result in results('likelihood') if result.get('method') == 'direct']
    densities = [result for result in results('density') if '0' in result.get('levels', {})]
    density = max(densities, key=lambda result: result['num_chains'] * result['ais_steps'], default=None)
    found = {
        **NOTHING,
        **beginning(workdir),
        'evaluations': results('evaluation'),
        'likelihood': likelihood,
        'direct': direct[-1] if direct else None,
        'density': density,
    }
    if exported.source(workdir):
        return found
    surroundings = _read(os.path.join(checkpoint.find(workdir, step), 'surroundings.json'))
    return {**found, 'seconds': _seconds(workdir, step), 'device': surroundings.get('device')}


def beginning(workdir):
    """Provenance of a model: import and fine-tuning.

    Args:
      workdir: the directory of a run, or of an exported model, or one that uses one.

    Returns:
      dict of 'origin', of a network that was imported (see `training.import_official`), else empty, and
      'fitted_steps', how many `Model.fit` took in Python.
    """
    version = exported.source(workdir)
    if version:
        described = _read(os.path.join(version, exported.DESCRIPTION))
        return {name: described.get(name, nothing) for name, nothing in BEGINNING.items()}
    origin = _read(os.path.join(workdir, authors_checkpoint.ORIGIN))
    return {
        **BEGINNING,
        'origin': {
            name: os.path.basename(value) if isinstance(value, str) else value
            for name, value in origin.items()
        },
    }


def _read(path):
    """What a JSON file holds; empty where it is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def _seconds(workdir, step):
    """Seconds that training took up to a step, by its log; None where there is none."""
    path, total, last = os.path.join(workdir, 'metrics.jsonl'), 0.0, 0
    if not os.path.exists(path):
        return None
    batch = configuration.load(workdir).training.batch_size
    try:
        with open(path, encoding='utf-8') as file:
            for line in map(json.loads, file):
                if line['step'] <= step:
                    total, last = (
                        total + (line['step'] - last) * batch / line['images_per_second'],
                        line['step'],
                    )
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    return total
