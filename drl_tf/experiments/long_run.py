"""Long-run chains of a trained model (paper, section 4): what becomes of a state at a level far beyond the
steps of training.

At each level chains of two kinds run on p(y_t | x_{t+1}): from x_{t+1}, where sampling starts, and from the
y_t of the image that x_{t+1} was made of. Where the energies are right the latter stay as good as they are,
and the former come to them.
"""

import contextlib
import dataclasses
import math
import os
import re
import time

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base import files
from drl_tf.core import diffusion, noise
from drl_tf.core.guidance import UNCONDITIONAL, guided
from drl_tf.core.sampling import conditional
from drl_tf.data import pipeline
from drl_tf.experiments import chains, long_run_report
from drl_tf.experiments.long_run_files import ChainFiles
from drl_tf.runs import checkpoint, pictures, samples
from drl_tf.runs.request import SampleRequest

KINDS = ('x_next', 'data')
_SECONDS_PER_CHUNK = 10
_PILOT = 2
_OF_SAMPLING = (
    'mcmc_steps',
    'noise_scale',
    'step_scale',
    'sampling_levels',
    'final_denoise',
    'labels',
    'label_weights',
    'first',
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
      levels: t of the chains; empty for three from 0 up.
      method: as in `chains.kernel`.
      num_images: how many x_{t+1}; there are two chains for each, one of each of `KINDS`.
      leapfrogs: steps of the integrator in a transition of 'hmc'.
      burn_in: transitions in which the step size is adapted.
      steps: transitions of a chain in all.
      minutes: how long this command may take; 0 is no limit.
    """

    levels: tuple[int, ...]
    method: str
    num_images: int
    leapfrogs: int
    burn_in: int
    steps: int
    minutes: float

    def at(self, num_levels):
        """The plan with its levels, in order, for a model that has `num_levels`."""
        levels = self.levels or (0, num_levels // 3, 2 * num_levels // 3)
        return dataclasses.replace(self, levels=tuple(sorted(set(levels))))


def long_run(config, workdir, plan, weights='ema', step=None):
    """Runs chains, or goes on with them, until they have their length or the time is up; then says and draws
    how they went.

    Args:
      config: a `Config`; the networks compute in float32, since energies of bfloat16 are too coarse to accept
        by.
      workdir: the directory of the run.
      plan: a `Plan`.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint.
    """
    config = config.replace(precision='float32')
    plan = plan.at(config.diffusion.num_levels)
    model, step = checkpoint.load_model(workdir, config, step)
    root = os.path.join(workdir, 'long_run', f'{step:08d}-{weights}-{plan.method}-seed{config.training.seed}')
    with files.held(root):
        _put_others_aside(root, _settings(model, plan, step, weights))
        sampler = Sampler(model, plan, weights)
        levels = {
            t: Level(sampler, t, os.path.join(root, f'level{t:03d}')) for t in (*plan.levels, *_begun(root))
        }
        _run([levels[t] for t in plan.levels], plan)
        return long_run_report.write(config, root, plan, [levels[t] for t in sorted(levels)], KINDS)


def _begun(root):
    """The levels that earlier commands ran chains at."""
    return [int(name.removeprefix('level')) for name in os.listdir(root) if re.fullmatch(r'level\d+', name)]


def _settings(model, plan, step, weights):
    """All that decides the states, as JSON has it."""
    config = model.config
    mine = {name: getattr(plan, name) for name in ('method', 'num_images', 'leapfrogs', 'burn_in')}
    request = SampleRequest.of(config, plan.num_images, step=step, weights=weights)
    settings = samples.settings_of(model, request)
    decisive = {name: value for name, value in settings.items() if name not in _OF_SAMPLING}
    return {**decisive, **mine, 'dataset': config.data.dataset}


def _put_others_aside(root, settings):
    """Moves the chains of other settings that a directory holds, if any, to one beside it; notes these
    settings."""
    path = os.path.join(root, 'settings.json')
    former = None
    with contextlib.suppress(OSError, ValueError):
        former = files.read_json(path)
    if former == settings:
        return
    kept = files.put_aside(root)
    if kept:
        logging.warning('%s held chains of other settings: they are now in %s', root, kept)
    files.write_json(path, settings)


class Sampler:
    """The graphs of a model's chains, the same for all levels.

    Args:
      model: a `RecoveryLikelihood`.
      plan: a `Plan`.
      weights: 'ema' or 'raw'.
    """

    def __init__(self, model, plan, weights):
        self.model, self.plan, self.weights = model, plan, weights
        self.seed = long_run_report.seed_of(model.config)
        batch = next(
            iter(pipeline.training_images(model.config.data, plan.num_images, model.config.training.seed))
        )
        self.images, self.labels = batch if model.config.data.num_classes else (batch, None)
        self.start, self.advance = (
            tf.function(function, autograph=False) for function in (self._start, self._advance)
        )

    def pairs(self, level):
        """x_{t+1} of each chain and where it starts, both float32 [2 n, H, W, C]: first those of x_{t+1},
        then those of the data."""
        seed, schedule, t = (
            noise.fold(self.seed, level),
            self.model.schedule,
            tf.fill([len(self.images)], level),
        )
        eps = [
            noise.normal(noise.fold(seed, noise.FORWARD, index), tf.shape(self.images)) for index in range(2)
        ]
        x_t, x_next = diffusion.forward_pair(schedule, self.images, t, *eps)
        return tf.concat([x_next, x_next], 0), tf.concat([x_next, schedule.m[level] * x_t], 0)

    def _kernel(self, x_next, level):
        guidance = self.model.config.sampling.guidance
        terms = UNCONDITIONAL if self.labels is None else guided(tf.tile(self.labels, [2]), guidance)
        log_density = self.model.density_at(level, self.weights, terms)
        log_prob = conditional(self.model.schedule, log_density, x_next, level)
        delta = diffusion.per_image(self.model.schedule.delta, level[0])
        return chains.kernel(log_prob, self.plan.method, delta, self.plan.leapfrogs, self.plan.burn_in)

    def _start(self, y, x_next, level):
        return self._kernel(x_next, level).bootstrap_results(y)

    def _advance(self, y, results, x_next, level, first, count):
        seed = noise.fold(self.seed, level[0], noise.LANGEVIN)
        return chains.advance(self._kernel(x_next, level), y, results, seed, first, count)


class Level:
    """The chains of one level, on disk as they run.

    Args:
      sampler: a `Sampler`.
      t: the level.
      directory: where their files go.

    Attributes:
      done: transitions that were made.
      diverged: whether a state became non-finite, as in uncorrected chains it can.
    """

    def __init__(self, sampler, t, directory):
        self.sampler, self.t, self.files = sampler, t, ChainFiles(directory)
        self.x_next, self.y = sampler.pairs(t)
        self.level = tf.fill([len(self.y)], t)
        self.results = sampler.start(self.y, self.x_next, self.level)
        self.done, state = self.files.restore([self.y, *tf.nest.flatten(self.results)])
        self.y, *flat = state
        self.results = tf.nest.pack_sequence_as(self.results, flat)
        self.diverged = not np.isfinite(self.y).all()
        if not self.done:
            self.files.write_snapshot(0, self.x())

    def x(self):
        """x_t = y / m_t of the states at hand, float32 [2 n, H, W, C]."""
        return np.asarray(self.y) / np.float32(self.sampler.model.schedule.m[self.t])

    def steps(self):
        """Numbers of transitions after which states were kept, and of those at hand, in order."""
        return sorted({*self.files.snapshots(), self.done})

    def states(self):
        """{transitions: the states after them, as `x`}, for `steps`."""
        return {step: self.x() if step == self.done else self.files.snapshot(step) for step in self.steps()}

    def seconds_per_transition(self):
        """Measured over two transitions that are thrown away, once the graph is made."""
        for count in (1, _PILOT):
            begin = time.monotonic()
            self._moved(count)
        return (time.monotonic() - begin) / _PILOT

    def _moved(self, count):
        return self.sampler.advance(
            self.y, self.results, self.x_next, self.level, tf.constant(self.done), tf.constant(count)
        )

    def advance(self, most, last):
        """Makes at most `most` transitions, not beyond `last`, up to the next one whose states are kept;
        returns how many."""
        stops = [step for step in (*chains.log_spaced(last), last) if step > self.done]
        count = min(most, stops[0] - self.done)
        self.y, self.results, energies, accepted = self._moved(count)
        self.files.write_trace(self.done, energies.numpy(), accepted.numpy())
        self.done += count
        if self.done in chains.log_spaced(self.done):
            self.files.write_snapshot(self.done, self.x())
        self.files.write_state(self.done, [self.y, *tf.nest.flatten(self.results)])
        self.diverged = not np.isfinite(self.y).all()
        if self.diverged:
            logging.warning(
                'the chains of level %d diverged (non-finite) in transition %d: they end here',
                self.t,
                self.done,
            )
        return count


def _run(levels, plan):
    """Says what it costs, then makes transitions at all levels in turn until all are done or the time is
    up."""
    missing = sum(max(0, plan.steps - level.done) for level in levels if not level.diverged)
    if not missing:
        return
    pilot = next(level for level in levels if level.done < plan.steps and not level.diverged)
    seconds = pilot.seconds_per_transition()
    _say_cost(plan, missing, seconds)
    most, begin = max(1, math.ceil(_SECONDS_PER_CHUNK / seconds)), time.monotonic()
    with pictures.progress_bar(
        len(levels) * plan.steps, 'long run', len(levels) * plan.steps - missing, unit=' transitions'
    ) as bar:
        while missing and not (plan.minutes and time.monotonic() - begin > 60 * plan.minutes):
            waiting = [level for level in levels if level.done < plan.steps and not level.diverged]
            if not waiting:
                break
            level = min(waiting, key=lambda level: level.done)
            bar.update(level.advance(most, plan.steps))


def _say_cost(plan, missing, seconds):
    """Prints what is to be done and how long it takes, before it is."""
    each = chains.gradients(plan.method, plan.leapfrogs)
    levels = ', '.join(map(str, plan.levels))
    print(
        f'long run: {plan.method} at levels {levels}, {plan.num_images} images, {2 * plan.num_images} '
        f'chains a level, {plan.steps:,} '
        f'transitions each\ncost: {missing:,} transitions at all levels are to be made, {missing * each:,} '
        'gradients of '
        f'{2 * plan.num_images} images; at {seconds:.3g} s a transition, as measured, '
        f'{missing * seconds / 60:,.1f} minutes',
        flush=True,
    )
    possible = int(60 * plan.minutes / seconds / len(plan.levels))
    if plan.minutes and missing * seconds > 60 * plan.minutes:
        print(
            f'--chain_minutes={plan.minutes:g} allows about {possible:,} more at each level; the same '
            'command then goes on',
            flush=True,
        )
