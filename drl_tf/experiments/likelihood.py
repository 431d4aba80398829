"""Bits per dimension of a trained model on held-out images, from both sides (`--mode=likelihood`)."""

import dataclasses
import json
import os
import time

import numpy as np
import tensorflow as tf

from drl_tf.base.files import digest, held, write_json
from drl_tf.core import noise
from drl_tf.experiments import bridges, held_out, partition
from drl_tf.experiments.bits_per_dim import FEW_EFFECTIVE, bits_per_dim
from drl_tf.runs import checkpoint, pictures, samples

_NEAR_SHARE = 0.01
_LOW_ACCEPTANCE = 0.4


def likelihood(config, workdir, num_chains, ais_steps, hmc_leapfrog, weights='ema', step=None):
    """Estimates bits/dim of the test split: log p(y_0) = F(y_0, 0) - log Z_0, log Z_0 from both sides;
    written as JSON too.

    Forward chains go from N(0, I) through all levels to level 0; backward chains start at progressive samples
    of the model that have made as many transitions on exp F(y, 0) as there are steps. Finished batches of
    `sample_batch_size` chains stay: the same command goes on with those, also for a larger `num_chains`.

    Args:
      config: a `Config`; its seed, its K in drawing samples, and `num_real`, the images at most, count.
      workdir: the directory of the run.
      num_chains: chains forward, and as many backward.
      ais_steps: densities between N(0, I) and level 0, about; each level has one at least.
      hmc_leapfrog: leapfrog steps of a transition.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      The figures, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint, the energies are not finite, or another process estimates the
        same.
    """
    model, step = checkpoint.load_model(
        workdir, config.replace(precision='float32', final_denoise=False), step
    )
    path = bridges.spaced(model.schedule, ais_steps)
    options = partition.Options(
        num_chains, hmc_leapfrog, config.sampling.sample_batch_size, config.training.seed
    )
    settings = _settings(model, step, weights, options, ais_steps)
    name = f'{step:08d}-{weights}-{ais_steps}x{hmc_leapfrog}-{digest(json.dumps(settings, sort_keys=True))}'
    directory, written = (
        os.path.join(workdir, 'likelihood', end) for end in (name, f'{name}-{num_chains}.json')
    )

    def density_at(level):
        return model.density_at(level, weights)

    with held(directory, '--seed'):
        begin = time.monotonic()
        write_json(os.path.join(directory, 'settings.json'), settings)
        sides = partition.Partition(path, density_at, config.image_shape, options, directory)
        low, high = _run(sides, model, weights, config.training.seed, path.last)
        images = held_out.terms(
            model.schedule, density_at, config, 'test', config.evaluation.num_real or None
        )
        seconds = {'seconds_of_this_command': time.monotonic() - begin}
        bits = bits_per_dim(model.schedule, config.image_shape, images, low.estimate, high.estimate)
        result = {
            **settings,
            **_effort(path, num_chains, hmc_leapfrog),
            **seconds,
            **bits,
            **_health(low, high),
        }
        result['notes'] = _notes(config, result)
        write_json(written, result)
    return {**figures(result), 'likelihood': written}


def _run(sides, model, weights, seed, long_run):
    """Both `Side`s, with a bar of transitions."""

    def drawn(first, count):
        x_0 = model.sample(count, noise.root(seed, noise.LIKELIHOOD), first, weights)[-1]
        return tf.clip_by_value(tf.cast(model.schedule.m[0], tf.float32) * x_0, -bridges.WALL, bridges.WALL)

    with pictures.progress_bar(sides.num_steps(long_run), 'annealing', unit=' transitions') as bar:
        return sides.forward(bar.update), sides.reverse(drawn, long_run, bar.update)


def _effort(path, num_chains, num_leapfrog):
    """What a chain along `bridges.Bridges` costs in either direction, pilots apart, ready for JSON."""
    last = path.last
    orders = {
        'forward': np.arange(1, last + 1),
        'reverse': np.append(np.full(last, last), np.arange(last)[::-1]),
    }
    gradients = {
        f'gradients_of_a_{name}_chain': (num_leapfrog + 1) * path.gradients(order)
        for name, order in orders.items()
    }
    return {'num_chains': num_chains, 'transitions': last, **gradients}


def _health(low, high):
    """How both `Side`s fared, ready for JSON."""
    sides = {'forward': low, 'reverse': high}
    acceptance = {f'acceptance_{name}': float(np.mean(side.acceptance)) for name, side in sides.items()}
    return {**acceptance, **{f'near_wall_{name}': side.near_wall for name, side in sides.items()}}


def _notes(config, result):
    """What must be known to read the figures."""
    notes = [
        'high is an estimate, not a bound: its chains start at long-run samples of the model, which are not '
        'exact'
    ]
    if any(config.diffusion.mcmc_steps) and config.training.objective == 'contrastive':
        notes.append(
            'the energies were fitted to short chains that do not mix: these figures may mean nothing'
        )
    if config.data.num_classes:
        notes.append('of the model without a class')
    if max(result['near_wall_forward'], result['near_wall_reverse']) > _NEAR_SHARE:
        notes.append(
            f'states of level 0 are near the wall at {bridges.WALL:g}: log Z depends on where it stands'
        )
    if min(result['effective_sample_size_low'], result['effective_sample_size_high']) < FEW_EFFECTIVE:
        notes.append(
            'few chains carry the weight, so the error is not known; raise --ais_steps or --hmc_leapfrog'
        )
    if min(result['acceptance_forward'], result['acceptance_reverse']) < _LOW_ACCEPTANCE:
        notes.append('chains hardly move: the figures say little; raise --ais_steps')
    if result['density_high_mean_log'] < result['density_low_mean_log']:
        notes.append('high is below low: the long-run samples miss a part of the model')
    return notes


def figures(result):
    """The main figures, as {label: text}."""

    def number(name, digits):
        error = result[f'{name}_error']
        return f'{result[name]:{digits}}' + ('' if error is None else f' ± {error:.2g}')

    def both(kind, way=''):
        return (
            f'{number(f"{kind}_low{way}", ".4g")} (low) to {number(f"{kind}_high{way}", ".4g")} (high) '
            'bits/dim'
        )

    def log_z(side):
        size = f'{result[f"effective_sample_size_{side}"]:.3g} of {result["num_chains"]} chains effective'
        return f'{number(f"log_z_{side}", ".2f")} nats, {size}'

    def shares(name, digits):
        return ', '.join(f'{result[f"{name}_{side}"]:{digits}} {side}' for side in ('forward', 'reverse'))

    return {
        'density of x_0': f'{both("density")}; D = {result["D"]}, noise floor {result["noise_floor"]:.2f}',
        'by mean of log w': f'{both("density", "_mean_log")}: looser, with errors that are known',
        'grey levels': f'a bound, {both("discrete")}',
        'log Z_0, forward': f'{log_z("low")}; a lower bound in expectation',
        'log Z_0, reverse': f'{log_z("high")}',
        'acceptance': shares('acceptance', '.2f'),
        'images': f'{result["num_images"]:,} of the test split',
        'near the wall': f'{shares("near_wall", ".0%")}, of the states of level 0 (beyond 0.95 of |y| = '
        f'{bridges.WALL:g})',
        **{f'note {number}': note for number, note in enumerate(result['notes'], 1)},
    }


def _settings(model, step, weights, options, ais_steps):
    """All that decides the numbers but for the number of chains, as JSON has it."""
    values = dataclasses.asdict(options)
    del values['num_chains']
    sampling = {
        name: value
        for name, value in dataclasses.asdict(model.config.sampling).items()
        if name != 'sample_batch_size'
    }
    mine = {
        'step': step,
        'weights': weights,
        'weights_sha256': samples.fingerprint(model, weights),
        'ais_steps': ais_steps,
    }
    return json.loads(
        json.dumps(
            {
                **mine,
                **values,
                'mcmc_steps': model.config.diffusion.mcmc_steps,
                **sampling,
                'wall': bridges.WALL,
            }
        )
    )
