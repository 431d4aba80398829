"""log Z_0 of the density exp F(y, 0) within a wall, by annealed importance sampling through all levels, over
any log densities: along the densities of `bridges`.
"""

import dataclasses
import os
import time

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import written_aside
from drl_tf.core import noise
from drl_tf.experiments import annealing
from drl_tf.experiments.bridges import WALL, mirrored, sample_normal

NEAR = 0.95 * WALL
_PILOT_CHAINS, _FIRST_STEP_SIZE = 8, 0.3
_START, _PILOT, _FORWARD, _REVERSE = range(4)
_OF_PILOTS = 2**30  # Index of the first chain of a pilot run, beyond those that count.
SAVE_EVERY = 30.0


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
        self.seed = noise.fold(noise.root(options.seed, noise.LIKELIHOOD))

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
        save(file, {'step_sizes': step_sizes})
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
            if done == last or time.monotonic() - saved > SAVE_EVERY:
                stored |= {**_arrays(state), 'done': done}
                save(file, stored)
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


def save(path, arrays):
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
