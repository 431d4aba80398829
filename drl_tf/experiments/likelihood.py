"""Bits per dimension of a trained model on held-out images, from both sides (`--mode=likelihood`)."""

import dataclasses
import json
import math
import os
import time

import numpy as np
import tensorflow as tf

from drl_tf.base import pixels
from drl_tf.base.errors import UserError
from drl_tf.base.files import digest, held, write_json
from drl_tf.core import noise
from drl_tf.data import pipeline
from drl_tf.experiments import partition
from drl_tf.runs import checkpoint, pictures, samples

_IMAGES = 2
_NEAR_SHARE, _FEW_EFFECTIVE, _LOW_ACCEPTANCE = 0.01, 5, 0.4


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
    path = partition.bridges(model.schedule, ais_steps)
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
        images = _held_out(model.schedule, density_at, config)
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
        x_0 = model.sample(count, [seed, noise.LIKELIHOOD], first, weights)[-1]
        return tf.clip_by_value(
            tf.cast(model.schedule.m[0], tf.float32) * x_0, -partition.WALL, partition.WALL
        )

    with pictures.progress_bar(sides.num_steps(long_run), 'annealing', unit=' transitions') as bar:
        return sides.forward(bar.update), sides.reverse(drawn, long_run, bar.update)


def _effort(path, num_chains, num_leapfrog):
    """What a chain along `partition.Bridges` costs in either direction, pilots apart, ready for JSON."""
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


def _held_out(schedule, density_at, config):
    """`terms_of_images` of the test split, each an array float64 [N]."""
    data, limit = config.data, config.evaluation.num_real or None
    total = min(pipeline.count_images(data, 'test'), limit or math.inf)
    seed, found, size = (
        noise.fold([config.training.seed, noise.LIKELIHOOD], _IMAGES),
        [],
        config.sampling.sample_batch_size,
    )
    log_density = partition.within_wall(density_at(tf.zeros([1], tf.int32)))
    for part in pictures.progress(pipeline.image_batches(data, 'test', limit), total, 'held-out images'):
        for first in range(0, len(part), size):
            grey = part[first : first + size]
            eps = noise.normal(seed, grey.shape, sum(map(len, (terms['F'] for terms in found))))
            found.append(terms_of_images(schedule, log_density, grey, eps))
    terms = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    if not np.isfinite(terms['F']).all():
        raise UserError('the energy of a held-out image is not finite: use another checkpoint')
    return terms


def terms_of_images(schedule, log_density, grey, eps):
    """What the likelihood of images is made of, but for log Z_0.

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, 0), float32 [n].
      grey: grey levels u, uint8 [n, H, W, C]; x = u / 127.5 - 1.
      eps: standard normal noise of that shape, with which x_0 = A_0 x + S_0 eps is a draw of q(x_0 | u).

    Returns:
      {'F': F(m_0 x_0, 0), 'log_q': log q(x_0 | u), 'log_P': log P(u | x_0)}, each float64 [n] in nats; P
      discretises N(x_0 / A_0, S_0^2 / A_0^2) to the 256 grey levels, the outer bins reaching to infinity.
    """
    A, S, m = schedule.A[0], schedule.S[0], schedule.m[0]
    x, eps = pixels.from_levels(grey.astype(np.float64)), np.asarray(eps, np.float64)
    x_0, axes = A * x + S * eps, tuple(range(1, x.ndim))
    log_q = np.sum(-(eps**2) / 2 - math.log(S * math.sqrt(2 * math.pi)), axis=axes)
    F = log_density(tf.constant(m * x_0, tf.float32)).numpy().astype(np.float64)
    return {
        'F': F,
        'log_q': log_q,
        'log_P': np.sum(_log_bins(grey, (x_0 / A + 1) * pixels.HALF, S / A * pixels.HALF), axis=axes),
    }


def _log_bins(grey, mean, std):
    """log P of each grey level under a Gaussian of that mean and deviation, in grey levels; float64 like
    `grey`."""
    low = tf.constant(np.where(grey == 0, -np.inf, (grey - 0.5 - mean) / std))
    high = tf.constant(np.where(grey == 255, np.inf, (grey + 0.5 - mean) / std))
    # Above the mean a bin is the difference of two upper tails, for the digits that lower tails near 1 would
    # lose.
    swap = low > 0
    near, far = tf.where(swap, -high, low), tf.where(swap, -low, high)
    return np.log(_normal_cdf(far) - _normal_cdf(near))


def _normal_cdf(z):
    return 0.5 * tf.math.erfc(-z / math.sqrt(2))


def bits_per_dim(schedule, image_shape, images, forward, reverse):
    """Figures of held-out images.

    Args:
      schedule: a `diffusion.Schedule`.
      image_shape: [H, W, C].
      images: `terms_of_images`.
      forward: `annealing.Estimate` of log Z_0.
      reverse: that of -log Z_0.

    Returns:
      A dict ready for JSON. `density_low` and `density_high` are bits/dim of x_0, whose unit is a grey level,

          -(F(y_0, 0) - log Z_0 + D log m_0 - D log 127.5) / (D ln 2),

      with log Z_0 from the forward and the reverse chains; `discrete_low` and `discrete_high` the bound for
      grey levels, E_q[log q(x_0 | u) - log p(x_0) - log P(u | x_0)] / (D ln 2). Errors are of the means over
      images and of log Z_0 together; None, and so that of log Z_0, where fewer than five chains carry the
      weight: it is not known then. `.._mean_log` are the same with the mean of log w for the logarithm of the
        mean weight: looser bounds whose error is known.
    """
    D = math.prod(image_shape)
    nats = D * math.log(2)
    log_density = images['F'] + D * math.log(schedule.m[0])
    negative = {
        'density': D * math.log(pixels.HALF) - log_density,
        'discrete': images['log_q'] - log_density - images['log_P'],
    }
    count = len(log_density)
    means = {
        kind: (v.mean(), float(np.std(v, ddof=min(1, count - 1))) / math.sqrt(count))
        for kind, v in negative.items()
    }
    result = {
        'D': D,
        'num_images': count,
        'noise_floor': 0.5 * math.log2(2 * math.pi * math.e * (pixels.HALF * schedule.S[0]) ** 2),
    }
    for side, estimate, sign in (('low', forward, 1), ('high', reverse, -1)):
        known = estimate.effective_sample_size >= _FEW_EFFECTIVE
        ways = {
            '': (estimate.log_mean, estimate.standard_error if known else None),
            '_mean_log': (estimate.mean_log, estimate.mean_log_error),
        }
        result[f'effective_sample_size_{side}'] = estimate.effective_sample_size
        for way, (log_z, error) in ways.items():
            result |= {f'log_z_{side}{way}': sign * log_z, f'log_z_{side}{way}_error': error}
            for kind, (mean, spread) in means.items():
                result[f'{kind}_{side}{way}'] = float((mean + sign * log_z) / nats)
                result[f'{kind}_{side}{way}_error'] = (
                    None if error is None else math.hypot(spread, error) / nats
                )
    return result


def _notes(config, result):
    """What must be known to read the figures."""
    notes = [
        'high is an estimate, not a bound: its chains start at long-run samples of the model, which are not '
        'exact'
    ]
    if config.diffusion.schedule != 't1k':
        notes.append(
            'the energies were fitted to short chains that do not mix: these figures may mean nothing'
        )
    if config.data.num_classes:
        notes.append('of the model without a class')
    if max(result['near_wall_forward'], result['near_wall_reverse']) > _NEAR_SHARE:
        notes.append(
            f'states of level 0 are near the wall at {partition.WALL:g}: log Z depends on where it stands'
        )
    if min(result['effective_sample_size_low'], result['effective_sample_size_high']) < _FEW_EFFECTIVE:
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
        f'{partition.WALL:g})',
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
                'wall': partition.WALL,
            }
        )
    )
