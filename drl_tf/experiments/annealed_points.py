"""Estimates log Z of a model of points of the plane by annealing, from noise to level 0 and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.data import plane
from drl_tf.experiments import annealing, bridges
from drl_tf.runs import pictures

if TYPE_CHECKING:
    from drl_tf.core.diffusion import Schedule

LogDensity = Callable[[tf.Tensor], tf.Tensor]

_FIRST_STEP_SIZE = 0.3


def annealed(
    schedule: Schedule,
    density_at: Callable[[tf.Tensor], LogDensity],
    num_chains: int,
    ais_steps: int,
    hmc_leapfrog: int,
    seed: int,
) -> tuple[dict[int, annealing.Estimate], annealing.Estimate]:
    """Estimates log Z of each noise level by annealing, and log Z of level 0 from both sides.

    Chains start at N(0, I), end at level 0, and go back from where they ended, through the same densities.

    Args:
      schedule: noise levels of the model.
      density_at: callable that maps t, int32 [1], to the log density of level t up to a constant: a callable
        that maps y, float32 [n, 1, 1, 2], to float32 [n].
      num_chains: number of chains.
      ais_steps: approximate number of densities through which each chain passes.
      hmc_leapfrog: leapfrog steps at each density.
      seed: any int.

    Returns:
      A pair. First {t: estimate}: its `log_mean` is log Z of level t, in expectation at most the true value.
      Then the estimate of the chains that go back: its `log_mean` is -log Z of level 0, in expectation at
      most the true value if the chains start at exact samples.
    """
    path = bridges.spaced(schedule, ais_steps)
    annealer = annealing.Annealer(path.density_of(density_at), hmc_leapfrog)
    folded = noise.fold(noise.root(seed, noise.LIKELIHOOD), noise.ANNEALING)
    y = bridges.sample_normal([num_chains, *plane.IMAGE_SHAPE], noise.fold(folded, noise.PRIOR))
    order = range(path.last + 1)
    sizes = np.zeros(len(order))
    found = {}
    with pictures.progress_bar(3 * path.last, 'annealing', unit=' transitions') as bar:
        for done, so_far in annealing.pilot(annealer, order, y, _FIRST_STEP_SIZE, folded):
            sizes = so_far
            bar.update(1 if done else 0)

        def moved(
            order: Sequence[int], y: tf.Tensor, seed: tf.Tensor
        ) -> Iterator[tuple[int, annealing.State]]:
            start = annealer.begin(order[0], y)
            for position, state, _ in annealing.anneal(annealer, order, start, sizes, seed):
                bar.update(1)
                yield position, state

        for position, state in moved(order, y, folded):
            if path.beta[position] == 1:
                found[int(path.level[position])] = annealing.estimate(state.log_weight)
        *_, (_, state) = moved(order[::-1], state.y, noise.fold(folded, noise.WAY_BACK))
    return found, annealing.estimate(state.log_weight)
