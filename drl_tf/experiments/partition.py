"""log Z_0 of the density exp F(y, 0) within a wall, by annealed importance sampling through all levels, over
any log densities.

exp F need not be integrable, so every density here is zero outside |y|_inf <= 6: also that of N(0, I), with
its normaliser. Chains are mirrored there: a leapfrog step that leaves the box comes back into it, instead of
having the whole proposal rejected.
"""

import dataclasses
import math
import os
import time

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import written_aside
from drl_tf.core import noise
from drl_tf.experiments import annealing

WALL = 6.0
NEAR = 0.95 * WALL
_PILOT_CHAINS, _FIRST_STEP_SIZE = 8, 0.3
_START, _PILOT, _FORWARD, _REVERSE = range(4)
_OF_PILOTS = 2**30  # Index of the first chain of a pilot run, beyond those that count.
_SAVE_EVERY = 30.0


@dataclasses.dataclass(frozen=True, eq=False)
class Bridges:
    """The densities between N(0, I) and exp F(y, 0), in order: exp of (1 - beta_k) F(y, t_k + 1) + beta_k
    F(y, t_k).

    F(., T) is log N(0, I). Every marginal is among them (beta_k = 1).

    Attributes:
      level: t_k, int32 [K + 1].
      beta: float64 [K + 1]; 0 for the first alone.
    """

    level: np.ndarray
    beta: np.ndarray

    @property
    def last(self):
        """K."""
        return len(self.level) - 1

    def density_of(self, density_at):
        """The log densities, mirrored at the wall, as `annealing.Annealer` takes them.

        Args:
          density_at: callable, level int32 [1] -> callable, y float32 [n, H, W, C] -> F(y, t) float32 [n].
        """
        top = int(self.level.max())

        def density_of(k):
            level, beta = tf.gather(self.level, k), tf.gather(tf.constant(self.beta, tf.float32), k)
            below, above = density_at(level[None]), density_at(tf.minimum(level + 1, top)[None])

            def mixed(y):
                upper = tf.cond(level == top, lambda: log_normal(y), lambda: above(y))
                return beta * below(y) + (1 - beta) * upper

            return lambda y: tf.cond(beta == 1, lambda: below(mirrored(y)), lambda: mixed(mirrored(y)))

        return density_of

    def gradients(self, order):
        """Gradients of the network that chains along densities of these indices, in order, take for each
        leapfrog step."""
        level, beta = self.level[order], self.beta[order]
        return int(np.sum(1 + ((beta > 0) & (beta < 1) & (level < self.level.max()))))


def bridges(schedule, num_steps):
    """Spaces densities evenly in the logarithm of the noise m_t S_t that y_t carries: between two levels
    evenly in that of the precision.

    Args:
      schedule: a `diffusion.Schedule`.
      num_steps: how many there are about; each level has one at least.
    """
    width = np.append(schedule.m * schedule.S[:-1], 1.0)
    ratio = np.log(width[1:] / width[:-1])
    counts = np.maximum(1, np.round(num_steps * np.abs(ratio) / np.abs(ratio).sum())).astype(int)
    levels, betas = [schedule.num_levels - 1], [0.0]
    for t in reversed(range(schedule.num_levels)):
        part = np.arange(1, counts[t] + 1) / counts[t]
        levels += [t] * counts[t]
        betas += list(np.expm1(2 * ratio[t] * part) / np.expm1(2 * ratio[t]))
    return Bridges(np.array(levels, np.int32), np.array(betas))


def mirrored(y):
    """The point of the box |y|_inf <= 6 that y, beyond it, is a mirror image of; float32 like y.

    Chains on log densities of it are chains on the box that its walls reflect: they leave the density within
    alone.
    """
    folded = WALL - tf.abs(tf.math.floormod(y + WALL, 4 * WALL) - 2 * WALL)
    return tf.where(tf.abs(y) <= WALL, y, folded)


def within_wall(log_density):
    """A log density with -inf outside the wall."""

    def log_prob(y):
        inside = tf.reduce_all(tf.abs(y) <= WALL, axis=tf.range(1, tf.rank(y)))
        return tf.where(inside, log_density(y), -np.inf)

    return log_prob


def log_normal(y):
    """log of the density of N(0, I) truncated at the wall, float32 [n]."""
    size = tf.cast(tf.size(y[0]), tf.float32)
    return -0.5 * tf.reduce_sum(y**2, axis=tf.range(1, tf.rank(y))) - size * (
        0.5 * math.log(2 * math.pi) + math.log(math.erf(WALL / 2**0.5))
    )


def sample_normal(shape, seed):
    """Draws from it, float32 of `shape`."""
    return tf.random.stateless_parameterized_truncated_normal(shape, seed, minvals=-WALL, maxvals=WALL)


@dataclasses.dataclass(frozen=True)
class Options:
    """How much is spent on an estimate.

    Attributes:
      num_chains: chains forward, and as many backward.
      num_leapfrog: leapfrog steps of a transition.
      at_once: chains that run together.
      seed: int.
    """

    num_chains: int
    num_leapfrog: int
    at_once: int
    seed: int


class Partition:
    """Estimates log Z_0 from both sides, and goes on where it was interrupted.

    Chains run in batches, each with a file of its own in `directory`, written again and again; a damaged one
    begins anew.

    Args:
      path: `Bridges`.
      density_at: as in `Bridges.density_of`.
      image_shape: [H, W, C].
      options: an `Options`.
      directory: for the files; whatever decides the numbers must be in its name.
    """

    def __init__(self, path, density_at, image_shape, options, directory):
        self.path, self.image_shape, self.options, self.directory = (
            path,
            tuple(image_shape),
            options,
            directory,
        )
        self.annealer = annealing.Annealer(path.density_of(density_at), options.num_leapfrog)
        self.seed = noise.fold([options.seed, noise.LIKELIHOOD])

    def num_steps(self, long_run):
        """Transitions of all chains together, pilots included."""
        chains, last = self.options.num_chains, self.path.last
        return 2 * self._pilot_chains * last + chains * (2 * last + long_run)

    @property
    def _pilot_chains(self):
        return min(_PILOT_CHAINS, self.options.at_once)

    def forward(self, advance):
        """From N(0, I) to level 0.

        Args:
          advance: called with the number of transitions since the last call.

        Returns:
          A `Side`: its estimate is below log Z_0 in expectation.
        """

        def start(first, count):
            return sample_normal([count, *self.image_shape], noise.fold(self.seed, _FORWARD, _START, first))

        return self._side('forward', _FORWARD, 0, start, advance)

    def reverse(self, samples, long_run, advance):
        """From samples of exp F(y, 0) to N(0, I).

        Args:
          samples: callable, (first int, count int) -> y_0 of chains `first`, `first` + 1, .., float32 [count,
            H, W, C].
          long_run: transitions of HMC on exp F(y, 0) that they make before.
          advance: as in `forward`.

        Returns:
          A `Side`: minus its estimate is above log Z_0 in expectation if the samples are exact, else it is an
            estimate.
        """
        return self._side('reverse', _REVERSE, long_run, samples, advance)

    def _side(self, name, purpose, long_run, start, advance):
        way = list(range(self.path.last + 1))[:: -1 if purpose == _REVERSE else 1]
        order, parts = [way[0]] * long_run + way, []
        step_sizes = self._step_sizes(name, way, noise.fold(self.seed, _PILOT, purpose), start, advance)
        for first in range(0, self.options.num_chains, self.options.at_once):
            count = min(self.options.at_once, self.options.num_chains - first)
            file = os.path.join(self.directory, f'{name}-{first:05d}-{count}.npz')
            seed = noise.fold(self.seed, purpose, first)
            parts.append(
                self._batch(
                    file,
                    order,
                    lambda first=first, count=count: start(first, count),
                    count,
                    seed,
                    step_sizes,
                    advance,
                )
            )
        acceptance = np.mean([part['acceptance'] for part in parts], axis=0)
        near = np.average(
            [part['near'] for part in parts], weights=[len(part['log_weight']) for part in parts]
        )
        estimate = annealing.estimate(np.concatenate([part['log_weight'] for part in parts]))
        return Side(estimate, acceptance, float(near) / order.count(self.path.last))

    def _step_sizes(self, name, way, seed, start, advance):
        """Those of all densities, from a pilot run along their way whose weights are not used; `advance` as
        in `forward`."""
        file, count, last = (
            os.path.join(self.directory, f'{name}-pilot.npz'),
            self._pilot_chains,
            self.path.last,
        )
        stored = _load(file, {'step_sizes': (last + 1,)})
        if stored:
            advance(count * last)
            return stored['step_sizes']
        step_sizes = np.zeros(last + 1)
        for done, found in annealing.pilot(
            self.annealer, way, start(_OF_PILOTS, count), _FIRST_STEP_SIZE, seed
        ):
            advance(count if done else 0)
            step_sizes = found
        _save(file, {'step_sizes': step_sizes})
        return step_sizes

    def _batch(self, file, order, start, count, seed, step_sizes, advance):
        """What is stored of a batch of chains at the end of their way, once they are there."""
        last = len(order) - 1
        stored = _load(file, _shapes(count, self.image_shape, last))
        if stored is None:
            state = self.annealer.begin(order[0], start())
            near = _near(state) if order[0] == self.path.last else 0.0
            stored = {**_arrays(state), 'done': 0, 'acceptance': np.zeros(last), 'near': near}
        first = annealing.State(*(tf.constant(stored[name]) for name in annealing.State._fields))
        advance(count * int(stored['done']))
        saved = time.monotonic()
        for done, state, accepted in annealing.anneal(
            self.annealer, order, first, step_sizes, seed, int(stored['done'])
        ):
            stored['acceptance'][done - 1] = accepted
            stored['near'] += _near(state) if order[done] == self.path.last else 0.0
            advance(count)
            if done == last or time.monotonic() - saved > _SAVE_EVERY:
                stored |= {**_arrays(state), 'done': done}
                _save(file, stored)
                saved = time.monotonic()
        if not np.isfinite(stored['log_weight']).all():
            raise UserError(
                f'the weights in {file} are not finite: the energies overflow; use another checkpoint'
            )
        return stored


@dataclasses.dataclass(frozen=True)
class Side:
    """What chains of one direction found.

    Attributes:
      estimate: an `annealing.Estimate`.
      acceptance: mean probability of acceptance of each transition, float64 [transitions].
      near_wall: share of the states of exp F(y, 0) with a number within 5 % of the wall: forward where the
        chains end, backward where they start and during their long run.
    """

    estimate: annealing.Estimate
    acceptance: np.ndarray
    near_wall: float


def _near(state):
    """Share of the chains of an `annealing.State` that are near the wall."""
    return float(
        tf.reduce_mean(tf.cast(tf.reduce_max(tf.abs(mirrored(state.y)), axis=[1, 2, 3]) > NEAR, tf.float32))
    )


def _arrays(state):
    return {name: tensor.numpy() for name, tensor in state._asdict().items()}


def _shapes(count, image_shape, last):
    """The shapes of what a batch's file holds."""
    return {
        'y': (count, *image_shape),
        'log_density': (count,),
        'log_weight': (count,),
        'done': (),
        'acceptance': (last,),
        'near': (),
    }


def _save(path, arrays):
    with written_aside(path, 'wb') as file:
        np.savez(file, **arrays)


def _load(path, shapes):
    """The arrays of a file, which zip holds against checksums; None where there is no file, with a warning
    where it is damaged."""
    if not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes:
            raise ValueError(f'arrays {found}, not {shapes}')
        return arrays
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        logging.warning('%s is damaged (%s): its chains begin anew', path, one_line(error))
        return None
