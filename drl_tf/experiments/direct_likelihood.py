"""Computes bits per dimension without annealing (--mode=likelihood --method=direct)."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.base.files import array_digest, digest, read_sound_json, write_json
from drl_tf.core import heights, noise
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.experiments import held_out, ranking
from drl_tf.experiments.bits_per_dim import negative_logs
from drl_tf.experiments.heights import Heights
from drl_tf.experiments.side_by_side import side_by_side
from drl_tf.runs import checkpoint, pictures, samples
from drl_tf.runs.heights import Heights as KnownHeights

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.core.energy_model import EnergyModel

_HEIGHTS = 1  # Purpose of a seed: the noise at all levels.
_FAR_APART = 0.05  # Bits/dim between the two estimates beyond which a note is written.
_LARGE = 0.5  # Size of log Z_0 in nats per dimension beyond which a note is written.
_FEWEST = 10  # Training images at least: the error of log Z comes from ten parts of them.
_IMAGES = 1000  # Training images at most, for the constants and to be weighed beside the test split.


def likelihood(
    config: Config, workdir: str, weights: Weights = Weights.EMA, step: int | None = None
) -> dict[str, str]:
    """Computes bits per dimension of test and training images, without annealing.

    The log density of a slightly noisy image is F - log Z, where F is the output of the network and Z its
    normalising constant. Noisy training images give two estimates of log Z at each noise level: one by
    thermodynamic integration, the other by Bennett's acceptance ratio. The result is written to a JSON file
    in `<workdir>/likelihood/`. If the file exists already, it is read, and nothing is computed.

    Args:
      config: the configuration of a model trained with --energy=preconditioned and --levels=continuous. Its
        option `num_real` is the largest number of images of a split; 0: all. At most 1,000 training images
        are used.
      workdir: the directory of the run.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}.

    Raises:
      UserError: there is no undamaged checkpoint, there are under 10 training images, or the energies are not
        finite.
    """
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    count = _count(config)
    train, test = (pipeline.load_images(config.data, split, count) for split in ('train', 'test'))
    _check_count(config, len(train))
    settings = {
        'method': 'direct',
        'step': step,
        'weights': weights,
        'weights_sha256': samples.fingerprint(model, weights),
        **_more_settings(config, train, test),
    }
    name = f'{step:08d}-{weights}-direct-{digest(json.dumps(settings, sort_keys=True))}.json'
    written = os.path.join(workdir, 'likelihood', name)
    result = read_sound_json(written)
    if not result:
        result = _compute(model, config, weights, settings, train, test)
        write_json(written, result)
    return {**_figures(result), **side_by_side(workdir, result), 'likelihood': written}


def _more_settings(config: Config, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """Returns the settings, beside the weights, that decide the result, as JSON values.

    The last two are left out where they change nothing, so that names of stored results stay.
    """
    num_real = config.evaluation.num_real
    settings = {
        'seed': config.training.seed,
        'num_real': num_real,
        'images_sha256': array_digest(train, test),
    }
    averaged = min(pipeline.count_images(config.data, 'test'), num_real or math.inf)
    if averaged > len(test):
        batches = pipeline.image_batches(config.data, 'test', num_real or None)
        settings['averaged_sha256'] = [array_digest(batch) for batch in batches]
    spacing = heights.spacing(math.prod(config.image_shape))
    if spacing < heights.WIDEST:
        settings['spacing'] = spacing
    return settings


def _check_count(config: Config, count: int) -> None:
    """Raises UserError if `count` training images are too few for log Z."""
    if count < _FEWEST:
        raise UserError(
            f'log Z needs at least {_FEWEST} training images: --dataset={config.data.dataset} with '
            f'--num_real={config.evaluation.num_real} gives {count}; raise --num_real, add images, or give '
            '--method=ais'
        )


def _compute(
    model: EnergyModel,
    config: Config,
    weights: Weights,
    settings: Mapping[str, Any],
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, Any]:
    """Returns the result, in types of JSON."""
    found = _heights(model, config, weights, _from_uint8(train))
    log_prob = _scores(model, config, weights, found)
    known = summary(log_prob(train), found)
    bits = {split: _bits(model, config, weights, split, found) for split in ('test', 'train')}
    result = {
        **settings,
        'heights': {name: dataclasses.asdict(estimate) for name, estimate in found.items()},
        'summary': dataclasses.asdict(known),
        'ranking': ranking.ranking(log_prob, known.typical_mean, test, config.training.seed),
        **bits,
        'notes': notes(config, bits['test'], found['bennett'].log_z[0]),
    }
    return json.loads(json.dumps(result, default=list))


def _count(config: Config) -> int:
    """Returns the largest number of images to use from the training split."""
    return min(_IMAGES, config.evaluation.num_real or _IMAGES)


def _from_uint8(levels: np.ndarray) -> np.ndarray:
    return pixels.from_levels(levels.astype(np.float32))


def _heights(model, config, weights, images):
    """Estimates log Z of every level, by integration and by Bennett's acceptance ratio."""
    seed = noise.fold(noise.root(config.training.seed, noise.LIKELIHOOD), _HEIGHTS)
    measured = Heights(model, weights, seed, config.sampling.sample_batch_size)
    with pictures.progress_bar(len(measured.angles), 'heights', unit=' levels') as bar:
        return measured.measure(images, lambda: bar.update(1))


def _scores(model, config, weights, found):
    """Returns a callable: clean images, uint8 [n, H, W, C], to log p at the scoring level, in nats."""
    level = model.scoring_level
    A = np.float32(model.schedule.A[level])
    angle = np.float32(model.schedule.angle[level])
    log_z = found['bennett'].log_z[level]
    size = config.sampling.sample_batch_size

    def log_prob(levels):
        parts = (_from_uint8(levels[first : first + size]) for first in range(0, len(levels), size))
        F = [model.log_prob_at(tf.fill([len(part)], angle), weights)(A * part) for part in parts]
        return np.concatenate(F).astype(np.float64) - log_z

    return log_prob


def summary(log_prob: np.ndarray, found: Mapping[str, heights.Estimate]) -> KnownHeights:
    """Returns the values that `EnergyModel.log_prob` and `typicality` need.

    Args:
      log_prob: log p of training images at the scoring level in nats, [n].
      found: the estimates of log Z that `Heights.measure` returns.
    """
    estimate = found['bennett']
    return KnownHeights(
        log_z_0=sorted(float(one.log_z[0]) for one in found.values()),
        log_z=list(estimate.log_z),
        log_z_error=list(estimate.error),
        typical_mean=float(log_prob.mean()),
        typical_std=float(log_prob.std()),
        log_z_integration=list(found['integration'].log_z),
        log_z_integration_error=list(found['integration'].error),
    )


def _bits(model, config, weights, split, found):
    """Computes bits/dim of images of a split with both estimates of log Z_0, in types of JSON."""
    limit = _count(config) if split == 'train' else config.evaluation.num_real or None
    terms = held_out.terms(
        model.schedule, lambda level: model.density_at(level, weights), config, split, limit
    )
    D = math.prod(config.image_shape)
    negative = negative_logs(model.schedule, config.image_shape, terms)
    bits = {'num_images': len(terms['F'])}
    for name, estimate in found.items():
        for kind, nats in negative.items():
            error = math.hypot(np.std(nats) / math.sqrt(len(nats)), estimate.error[0])
            bits[f'{kind}_{name}'] = float(np.mean(nats) + estimate.log_z[0]) / (D * math.log(2))
            bits[f'{kind}_{name}_error'] = error / (D * math.log(2))
    return bits


def notes(config: Config, bits: Mapping[str, float], log_z_0: float) -> list[str]:
    """Returns sentences that tell a user how far to trust the figures of --method=direct.

    One sentence warns if the two estimates of log Z lead to different bits per dimension, another if log Z is
    large. It is 0 before training, and should stay near 0. A third names images of the ranking on which the
    model was trained.

    Args:
      config: the configuration of the model.
      bits: bits per dimension of the test split, {name: number}. 'density_bennett' uses log Z from Bennett's
        acceptance ratio, 'density_integration' log Z from thermodynamic integration.
      log_z_0: log Z of level 0 by Bennett's acceptance ratio, in nats.
    """
    found = ['of the model without a class'] if config.data.num_classes else []
    apart = abs(bits['density_bennett'] - bits['density_integration'])
    if apart > _FAR_APART:
        found.append(
            f'the two estimates of log Z_0 are {apart:.2g} bits/dim apart: the energies of different levels '
            'do not fit together, which --recovery_nce teaches'
        )
    if abs(log_z_0) > _LARGE * math.prod(config.image_shape):
        remedy = 'raise' if config.training.recovery_nce else 'train with'
        found.append(
            f'log Z_0 is {log_z_0:,.0f} nats, and should be near 0: the heights are wrong, and so may be the '
            f'figures; {remedy} --recovery_nce, and check by --method=ais'
        )
    if config.training.recovery_off_data:
        found.append(
            'inverted, white, black and shifted images are no new ones in the ranking: training made the '
            'densities of different levels agree on such images (--recovery_off_data)'
        )
    return found


def _figures(result: Mapping[str, Any]) -> dict[str, str]:
    """Formats the main numbers of the JSON result of `likelihood` as lines to print, {label: text}."""

    def both(split, kind):
        return ', '.join(
            f'{result[split][f"{kind}_{name}"]:.4g} ± {result[split][f"{kind}_{name}_error"]:.2g} ({name})'
            for name in result['heights']
        )

    log_z = ', '.join(
        f'{e["log_z"][0]:.2f} ± {e["error"][0]:.2g} ({name})' for name, e in result['heights'].items()
    )
    ranks = ', '.join(f'{name} {scores["log_prob"]:.2f}' for name, scores in result['ranking'].items())
    return {
        'density of x_0': f'{both("test", "density")} bits/dim',
        'images': f'{result["test"]["num_images"]:,} of the test split',
        'of training images': f'{both("train", "density")} bits/dim',
        'grey levels': f'a bound, {both("test", "discrete")} bits/dim',
        'log Z_0': f'{log_z} nats',
        'ranking': f'AUROC of log p, {ranks}',
        **{f'note {number}': note for number, note in enumerate(result['notes'], 1)},
    }
