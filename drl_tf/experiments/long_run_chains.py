"""Runs the chains of --mode=long_run, level by level."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.core import diffusion, noise
from drl_tf.core.conditionals import conditional
from drl_tf.core.guidance import UNCONDITIONAL, guided
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.experiments import chains, long_run_report
from drl_tf.experiments.long_run_files import ChainFiles

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.experiments.long_run import Plan

_PILOT = 2  # Transitions whose time is measured.


class Sampler:
    """Runs long Markov chains on the log densities of a model, at any of its noise levels.

    Args:
      model: the model.
      plan: which chains to run, and for how long.
      weights: which weights of the model, 'ema' (averaged over training) or 'raw' (as trained).

    Attributes:
      images: the real images whose noisy versions the chains start from, float32 [n, H, W, C].
      labels: class + 1 of each image, or 0 for no class, int32 [n]; None if the model has no classes.
    """

    def __init__(self, model: EnergyModel, plan: Plan, weights: Weights):
        self.model = model
        self.plan = plan
        self.weights = weights
        config = model.config
        self.seed = long_run_report.seed_of(config)
        batch = next(iter(pipeline.training_images(config.data, plan.num_images, config.training.seed)))
        self.labels: tf.Tensor | None
        self.images, self.labels = batch if config.data.num_classes else (batch, None)
        self.start = tf.function(self._start, autograph=False)
        self.advance = tf.function(self._advance, autograph=False)

    def pairs(self, level: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the images x_{t+1} that chains at level t are conditioned on, and where the chains start.

        Each of n real images has two chains with the same x_{t+1}, the image with the noise of level t + 1.
        One chain starts at x_{t+1}, the other at y_t, the scaled image with the noise of level t.

        Args:
          level: the noise level t.

        Returns:
          A pair: x_{t+1} of each chain, and the start of each chain. Both are float32 [2 n, H, W, C]. The
          first n chains start at x_{t+1}, the other n at y_t.
        """
        seed = noise.fold(self.seed, level)
        schedule = self.model.schedule
        t = tf.fill([len(self.images)], level)
        shape = tf.shape(self.images)
        eps = [noise.normal(noise.fold(seed, noise.FORWARD, index), shape) for index in range(2)]
        x_t, x_next = diffusion.forward_pair(schedule, self.images, t, *eps)
        return tf.concat([x_next, x_next], 0), tf.concat([x_next, schedule.m[level] * x_t], 0)

    def _kernel(self, x_next: tf.Tensor, level: tf.Tensor) -> Any:
        guidance = self.model.config.sampling.guidance
        terms = UNCONDITIONAL if self.labels is None else guided(tf.tile(self.labels, [2]), guidance)
        log_density = self.model.density_at(level, self.weights, terms)
        log_prob = conditional(self.model.schedule, log_density, x_next, level)
        delta = diffusion.per_image(self.model.schedule.delta, level[0])
        return chains.kernel(log_prob, self.plan.method, delta, self.plan.leapfrogs, self.plan.burn_in)

    def _start(self, y: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor) -> Any:
        return self._kernel(x_next, level).bootstrap_results(y)

    def _advance(
        self,
        y: tf.Tensor,
        results: Any,
        x_next: tf.Tensor,
        level: tf.Tensor,
        first: tf.Tensor,
        count: tf.Tensor,
    ) -> tuple:
        seed = noise.fold(self.seed, level[0], noise.LANGEVIN)
        return chains.advance(self._kernel(x_next, level), y, results, seed, first, count)


class Level:
    """The long Markov chains of one noise level, saved to disk as they run.

    The n images of `sampler` have two chains each: one starts at x_{t+1}, the other at the scaled x_t.

    Args:
      sampler: the `Sampler` that runs the chains.
      t: the noise level.
      directory: directory for the files of the chains.

    Attributes:
      done: number of transitions made so far.
      diverged: whether a state is not finite, which can happen to 'langevin' chains.
    """

    def __init__(self, sampler: Sampler, t: int, directory: str):
        self.sampler = sampler
        self.t = t
        self.files = ChainFiles(directory)
        self.x_next, self.y = sampler.pairs(t)
        self.level = tf.fill([len(self.y)], t)
        self.results = sampler.start(self.y, self.x_next, self.level)
        self.done, state = self.files.restore([self.y, *tf.nest.flatten(self.results)])
        self.y, *flat = state
        self.results = tf.nest.pack_sequence_as(self.results, flat)
        self.diverged = not np.isfinite(self.y).all()
        if not self.done:
            self.files.write_snapshot(0, self.x())

    def x(self) -> np.ndarray:
        """Returns the chains' current states as noisy images x_t, float32 [2 n, H, W, C].

        The chains hold scaled images y_t = m_t x_t, where m_t is a factor that depends on the noise level t.
        """
        return np.asarray(self.y) / np.float32(self.sampler.model.schedule.m[self.t])

    def steps(self) -> list[int]:
        """Returns the numbers of transitions after which states were saved, ascending; the last is `done`."""
        return sorted({*self.files.snapshots(), self.done})

    def states(self) -> dict[int, np.ndarray]:
        """Returns the saved states, {number of transitions: noisy images x_t, float32 [2 n, H, W, C]}."""
        return {step: self.x() if step == self.done else self.files.snapshot(step) for step in self.steps()}

    def seconds_per_transition(self) -> float:
        """Measures how many seconds one transition of all chains takes; the chains stay as they are."""
        for count in (1, _PILOT):
            begin = time.monotonic()
            self._after(count)
        return (time.monotonic() - begin) / _PILOT

    def _after(self, count: int) -> tuple:
        """Returns the result of `chains.advance` for `count` transitions of the current states."""
        return self.sampler.advance(
            self.y, self.results, self.x_next, self.level, tf.constant(self.done), tf.constant(count)
        )

    def advance(self, most: int, last: int) -> int:
        """Makes at most `most` more transitions of the chains, and saves them.

        A call ends early at 1, 3, 10, 30, .. and `last` transitions, counted from the start of the chains.

        Args:
          most: largest number of transitions to make in this call, at least 1.
          last: number of transitions of the whole run. It must be larger than the number made so far, the
            attribute `done`.

        Returns:
          The number of transitions made, at most `most`.
        """
        stops = [step for step in (*chains.log_spaced(last), last) if step > self.done]
        count = min(most, stops[0] - self.done)
        self.y, self.results, energies, accepted = self._after(count)
        self.files.write_trace(self.done, energies.numpy(), accepted.numpy())
        self.done += count
        if self.done in chains.log_spaced(self.done):
            self.files.write_snapshot(self.done, self.x())
        self.files.write_state(self.done, [self.y, *tf.nest.flatten(self.results)])
        self.diverged = not np.isfinite(self.y).all()
        if self.diverged:
            message = 'the chains of level %d diverged (non-finite) in transition %d: they end here'
            logging.warning(message, self.t, self.done)
        return count
