"""Estimates log Z_0 of exp F(y, 0) by annealed importance sampling in both directions."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import written_aside
from drl_tf.core import noise
from drl_tf.experiments import annealing

if TYPE_CHECKING:
    from drl_tf.experiments.bridges import Bridges, LogDensity
    from drl_tf.experiments.walk_bridges import Walk

Start = Callable[[int, int], tf.Tensor]
Advance = Callable[[int], Any]

_PILOT_CHAINS = 8
_FIRST_STEP_SIZE = 0.3
_START, _PILOT, _FORWARD, _REVERSE = range(4)
_OF_PILOTS = 2**30  # Index of the first chain of a pilot run, beyond the chains of the estimate.
SAVE_EVERY = 30.0  # Seconds.


@dataclasses.dataclass(frozen=True)
class Options:
    """Number and length of the Markov chains of annealed importance sampling.

    Attributes:
      num_chains: number of chains in each direction: from noise to noise level 0, and back.
      num_leapfrog: leapfrog steps of a transition of Hamiltonian Monte Carlo (HMC).
      at_once: number of chains that run together.
      seed: any int.
    """

    num_chains: int
    num_leapfrog: int
    at_once: int
    seed: int


class Partition:
    """Estimates log Z_0, the normalising constant of noise level 0, by annealing in both directions.

    Chains run in batches, which save their states to files from time to time, so that an interrupted estimate
    can be continued.

    Args:
      path: the sequence of densities from noise to level 0, along which chains are annealed.
      density_at: the argument of the path's method `density_of`, which computes the model's log densities.
      image_shape: [H, W, C].
      options: number and length of the chains.
      directory: directory of the files; estimates with other settings need other directories.
    """

    def __init__(
        self,
        path: Bridges | Walk,
        density_at: Callable[[tf.Tensor], LogDensity],
        image_shape: Sequence[int],
        options: Options,
        directory: str,
    ):
        self.path = path
        self.image_shape = tuple(image_shape)
        self.options = options
        self.directory = directory
        self.annealer = annealing.Annealer(
            path.density_of(density_at), options.num_leapfrog, path.carry(density_at)
        )
        self.seed = noise.fold(noise.root(options.seed, noise.LIKELIHOOD))

    def num_steps(self, long_run: int) -> int:
        """Returns how many transitions all chains and pilot runs make together, for a progress bar.

        Args:
          long_run: number of HMC transitions of each reverse chain before the annealing.
        """
        chains = self.options.num_chains
        last = self.path.last
        return 2 * self._pilot_chains * last + chains * (2 * last + long_run)

    @property
    def _pilot_chains(self) -> int:
        return min(_PILOT_CHAINS, self.options.at_once)

    def forward(self, advance: Advance) -> Side:
        """Anneals chains from density 0 to level 0.

        Args:
          advance: callable that shows progress; it gets the number of transitions since its last call.

        Returns:
          A `Side`. Its `estimate.log_mean` estimates log Z_0, and is too low in expectation;
          `estimate.standard_error` is the standard error. `acceptance` and `near_wall` tell how well the
          chains ran.
        """

        def start(first: int, count: int) -> tf.Tensor:
            return self.path.first([count, *self.image_shape], noise.fold(self.seed, _FORWARD, _START, first))

        return self._side('forward', _FORWARD, 0, start, advance)

    def reverse(self, samples: Start, long_run: int, advance: Advance) -> Side:
        """Anneals chains from samples of level 0, whose density is exp F(y, 0) / Z_0, to density 0.

        Args:
          samples: callable (first, count) that returns a sample for each of `count` chains, from chain number
            `first` up, float32 [count, H, W, C]. `first` can be large: the chains of the pilot run, which
            finds step sizes, have numbers from 2^30 up.
          long_run: number of HMC transitions on level 0 before the annealing.
          advance: callable that shows progress; it gets the number of transitions since its last call.

        Returns:
          A `Side`. Its `estimate.log_mean` estimates -log Z_0, and is too low in expectation if the samples
          are exact; `estimate.standard_error` is the standard error. `acceptance` and `near_wall` tell how
          well the chains ran.
        """
        return self._side('reverse', _REVERSE, long_run, samples, advance)

    def _side(self, name: str, purpose: int, long_run: int, start: Start, advance: Advance) -> Side:
        way = list(range(self.path.last + 1))
        if purpose == _REVERSE:
            way.reverse()
        order = [way[0]] * long_run + way
        parts = []
        step_sizes = self._step_sizes(name, way, noise.fold(self.seed, _PILOT, purpose), start, advance)
        for first in range(0, self.options.num_chains, self.options.at_once):
            count = min(self.options.at_once, self.options.num_chains - first)
            file = os.path.join(self.directory, f'{name}-{first:05d}-{count}.npz')
            seed = noise.fold(self.seed, purpose, first)
            begin = functools.partial(start, first, count)
            parts.append(self._batch(file, order, begin, count, seed, step_sizes, advance))
        sizes = [len(part['log_weight']) for part in parts]
        acceptance = np.average([part['acceptance'] for part in parts], axis=0, weights=sizes)
        near = np.average([part['near'] for part in parts], weights=sizes)
        estimate = annealing.estimate(np.concatenate([part['log_weight'] for part in parts]))
        return Side(estimate, acceptance, float(near) / order.count(self.path.last))

    def _step_sizes(
        self, name: str, way: Sequence[int], seed: tf.Tensor, start: Start, advance: Advance
    ) -> np.ndarray:
        """Returns the step size of each density, float64 [K + 1], from a pilot run along `way`."""
        file = os.path.join(self.directory, f'{name}-pilot.npz')
        count = self._pilot_chains
        last = self.path.last
        stored = _load(file, {'step_sizes': (last + 1,)})
        if stored:
            advance(count * last)
            return stored['step_sizes']
        step_sizes = np.zeros(last + 1)
        y = start(_OF_PILOTS, count)
        for done, found in annealing.pilot(self.annealer, way, y, _FIRST_STEP_SIZE, seed):
            advance(count if done else 0)
            step_sizes = found
        save(file, {'step_sizes': step_sizes})
        return step_sizes

    def _batch(
        self,
        file: str,
        order: Sequence[int],
        start: Callable[[], tf.Tensor],
        count: int,
        seed: tf.Tensor,
        step_sizes: np.ndarray,
        advance: Advance,
    ) -> dict[str, Any]:
        """Runs a batch of chains to the end of `order`, or continues it; returns the content of its file."""
        last = len(order) - 1
        stored = _load(file, _shapes(count, self.image_shape, last))
        if stored is None:
            state = self.annealer.begin(order[0], start())
            near = self.path.near_wall(state.y) if order[0] == self.path.last else 0.0
            stored = {**_arrays(state), 'done': 0, 'acceptance': np.zeros(last), 'near': near}
        first = annealing.State(*(tf.constant(stored[name]) for name in annealing.State._fields))
        advance(count * int(stored['done']))
        saved = time.monotonic()
        steps = annealing.anneal(self.annealer, order, first, step_sizes, seed, int(stored['done']))
        for done, state, accepted in steps:
            stored['acceptance'][done - 1] = accepted
            stored['near'] += self.path.near_wall(state.y) if order[done] == self.path.last else 0.0
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
    """The result of chains annealed in one direction, from noise to level 0 or back.

    Attributes:
      estimate: estimate of log(Z of the last density / Z of the first density), where Z is the normalising
        constant. Its attribute `log_mean` is the value, and `standard_error` the error of the value.
      acceptance: mean acceptance probability of each transition, float64 [transitions].
      near_wall: share of the states at level 0 with a coordinate near the walls of the path, if it has any.
    """

    estimate: annealing.Estimate
    acceptance: np.ndarray
    near_wall: float


def _arrays(state: annealing.State) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in state._asdict().items()}


def _shapes(count: int, image_shape: tuple[int, ...], last: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays in a batch's file."""
    return {
        'y': (count, *image_shape),
        'log_density': (count,),
        'log_weight': (count,),
        'done': (),
        'acceptance': (last,),
        'near': (),
    }


def save(path: str, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, {name: array}, to the `.npz` file `path`; an interruption leaves no incomplete file."""
    with written_aside(path, 'wb') as file:
        np.savez(file, **arrays)


def _load(path: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Reads a `.npz` file, with checksums; returns None if it is missing or, with a warning, damaged."""
    if not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes:
            raise ValueError(f'it holds arrays {found}, not {shapes}')
        return arrays
    except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged files.
        logging.warning('%s is damaged (%s): starting its chains again', path, one_line(error))
        return None
