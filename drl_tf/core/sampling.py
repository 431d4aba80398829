"""Sampling by recovery likelihood (paper, Algorithm 2), for any log density."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from drl_tf.core import correctors, noise
from drl_tf.core.conditionals import Noise, conditional, conditional_chain
from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.guidance import UNCONDITIONAL, Terms
from drl_tf.core.langevin import LogDensity
from drl_tf.core.noise import Seed
from drl_tf.core.weights import Weights

MOST_PARTS = 32
_MOST_STATES = 9
# Level t of each image, int32 [B] -> log density, a callable y -> F(y, t), float32 [B].
DensityAt: TypeAlias = Callable[[tf.Tensor], LogDensity]


class Draw(NamedTuple):
    """Which images to draw from a model, and how: what all steps of sampling have in common.

    Attributes:
      first: index of the first image; image i depends on (seed, first + i). Under a strategy: one index for
        each replica.
      weights: which weights of the model, 'ema' (moving averages) or 'raw' (as trained).
      terms: which classes, (labels, weight) pairs from `guidance.guided`.
      corrector_steps: relative step size of the chains at each level, from `pilot.steps`, float32 [T]. None:
        the step sizes of `walk`; `EnergyModel.sample` calls `pilot.steps`, which may take a pilot run.
      walk: the noise levels to visit; None: `EnergyModel.walk`.

    Examples:
      >>> Draw(first=16).weights.value
      'ema'
    """

    first: Any = 0
    weights: Weights = Weights.EMA
    terms: Terms = UNCONDITIONAL
    corrector_steps: tf.Tensor | None = None
    walk: Schedule | None = None


PLAIN = Draw()  # Images from index 0, averaged weights, no class.


class Info(NamedTuple):
    """How well the chains of B images moved, at one noise level or at each of T levels.

    Attributes:
      acceptance: mean acceptance probability of the steps, float32 [B] or [B, T]. It is 1 for Langevin
        chains, which reject no step.
      displacement: root mean square over the pixels of the chain's last state minus its first state,
        float32 [B] or [B, T].

    Examples:
      >>> Info(tf.ones([2]), tf.zeros([2])).acceptance.numpy()
      array([1., 1.], dtype=float32)
    """

    acceptance: tf.Tensor
    displacement: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """The paper's Algorithm 2: samples images from noise, one noise level at a time.

    At level t, a chain draws y_t = m_t x_t given x_{t+1}, where x_t is an image with the noise of level t and
    m_t a constant of the level.

    Attributes:
      schedule: noise levels to visit, a `Schedule`.
      density_at: callable that takes the level t of each image, int32 [B], and returns the log density at
        these levels, a callable that maps y_t to F(y_t, t), float32 [B].
      start_at: callable that takes (x_{t+1}, t, seed) and returns the first states of the chains,
        float32 [B, H, W, C].
      steps_at: callable that takes t, int32 [B], and returns the number of chain steps, int32 [B]. To run no
        chains, it returns the int 0 (y_t is drawn from a normal approximation) or None (y_t is the result of
        `start_at`).
      corrector: the kind of chain, 'langevin', 'mala' or 'hmc'; 'langevin' if there are no chains.
      corrector_steps: relative step size q at each level, float32 [T]; `correctors.step_sizes` computes the
        step sizes from q. None: `step_scale` times the step sizes of the schedule.
      noise_scale: c, the factor of the noise of each step. The chains then sample p^(1 / c^2) instead of p.
      step_scale: factor of the step sizes of the schedule, one number or float64 [T].
      beta: weight of the previous step's gradient in Langevin steps at each level, float64 [T]. None: the
        steps use only the current gradient.
      first: index of the first image; image i depends on (seed, first + i) only.

    Examples:
      If the density at every level is standard normal, the samples are standard normal too.

      >>> from drl_tf.core import diffusion
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> sampler = Sampler(diffusion.t1k().strided(100), density_at=lambda level: standard_normal)
      >>> x_T = noise.normal([0, 1], [64, 4, 4, 1])
      >>> x_0, _ = tf.function(sampler.descend)(x_T, tf.constant(100), tf.constant(0), [0, 2])
      >>> tf.math.reduce_std(x_0).numpy().round(1).item()
      1.0
    """

    schedule: Schedule
    density_at: DensityAt
    start_at: Callable[[tf.Tensor, tf.Tensor, Seed], tf.Tensor] = lambda x_next, level, seed: x_next
    steps_at: Callable[[tf.Tensor], int | tf.Tensor | None] = lambda level: 0
    corrector: str = 'langevin'
    corrector_steps: tf.Tensor | None = None
    noise_scale: float = 1.0
    step_scale: float | np.ndarray = 1.0
    beta: np.ndarray | None = None
    first: int | tf.Tensor = 0

    def descend(self, x: tf.Tensor, high: tf.Tensor, low: tf.Tensor, seed: Seed) -> tuple[tf.Tensor, Info]:
        """Draws x_low given x_high, one noise level after the other, in a single loop of the graph.

        Args:
          x: x_high, images with the noise of level `high`, float32 [B, H, W, C].
          high: noise level of x, 1 to T, int32 [].
          low: noise level of the result, below `high`, int32 [].
          seed: random seed, int32 [2].

        Returns:
          x_low: images with the noise of level `low`, float32 [B, H, W, C].
          info: acceptance and displacement of each chain, each float32 [B, T], an `Info`; 0 at levels that
            were not visited.
        """

        def step(t: tf.Tensor, x: tf.Tensor, by_level: Info) -> tuple[tf.Tensor, tf.Tensor, Info]:
            level = tf.fill([tf.shape(x)[0]], t - 1)
            lower, info = self.recover(x, level, noise.fold(seed, noise.LANGEVIN, t - 1))
            pairs = zip(by_level, info, strict=True)
            by_level = Info(*(tf.tensor_scatter_nd_update(all, [[t - 1]], [mine]) for all, mine in pairs))
            return t - 1, tf.ensure_shape(lower, x.shape), by_level

        # For t = high - 1, .., low: x_t given x_{t+1}.
        zeros = tf.zeros([self.schedule.num_levels, tf.shape(x)[0]])
        state = (high, x, Info(zeros, zeros))
        _, x, by_level = tf.while_loop(lambda t, *_: t > low, step, state, parallel_iterations=1)
        return x, Info(*map(tf.transpose, by_level))

    def recover(self, x_next: tf.Tensor, level: tf.Tensor, seed: Seed) -> tuple[tf.Tensor, Info]:
        """Draws x_t given x_{t+1}: one noise level of Algorithm 2.

        Args:
          x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
          level: noise level t of each image, 0 to T - 1, int32 [B].
          seed: random seed, int32 [2].

        Returns:
          x_t: images with the noise of level t, float32 [B, H, W, C].
          info: acceptance and displacement of each chain, each float32 [B], an `Info`.
        """
        # The chain starts at y^0: x_{t+1}, or a proposal.
        log_density = self.density_at(level)
        start = self.start_at(x_next, level, seed)

        # K corrector steps on log p(y | x_{t+1}).
        y, acceptance = self._correct(log_density, start, x_next, level, seed)
        displacement = tf.sqrt(tf.reduce_mean((y - start) ** 2, axis=[1, 2, 3]))

        # x_t from y = m_t x_t.
        return y / at(self.schedule.m, level), Info(acceptance, displacement)

    def _correct(
        self, log_density: LogDensity, start: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor, seed: Seed
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs K steps from `start`; returns y, and the acceptance of each image, float32 [B]."""

        def step_noise(k: int | tf.Tensor) -> tf.Tensor:
            return noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), self.first)

        def uniform(purpose: int) -> Noise:
            return lambda k: noise.uniform(noise.fold(seed, purpose, k), tf.shape(x_next)[0], self.first)

        num_steps = self.steps_at(level)
        step_size = self._step_size(level)
        if self.corrector not in correctors.ADJUSTED:

            def scaled(k: int | tf.Tensor) -> tf.Tensor:
                return self.noise_scale * step_noise(k)

            beta = None if self.beta is None else at(self.beta, level)
            args = (self.schedule, log_density, start, x_next, level, num_steps, scaled, step_size, beta)
            return conditional_chain(*args)[0], tf.ones(tf.shape(x_next)[:1])

        # A Langevin step of size delta whose noise is scaled by c is a step of size c delta on log p / c^2.
        log_prob = conditional(self.schedule, log_density, x_next, level)
        chain = correctors.mala if self.corrector == 'mala' else correctors.hmc
        return chain(
            lambda y: log_prob(y) / self.noise_scale**2,
            start,
            self.noise_scale * step_size,
            num_steps,
            correctors.Draws(step_noise, uniform(noise.ACCEPTANCE), uniform(noise.LENGTH)),
        )

    def _step_size(self, level: tf.Tensor) -> tf.Tensor:
        """Returns the step size delta of each image, float32 [B, 1, 1, 1]."""
        if self.corrector_steps is None:
            scale = at(self.step_scale, level) if isinstance(self.step_scale, np.ndarray) else self.step_scale
            return scale * at(self.schedule.delta, level)
        sizes = correctors.step_sizes(self.schedule, self.corrector_steps)
        return tf.gather(sizes, level)[:, None, None, None]


def on_walk(trained: Schedule, walk: Schedule, density_at: DensityAt) -> DensityAt:
    """Makes log densities of a trained schedule usable on a schedule with fewer levels, for faster sampling.

    A log density at level t is a function of y_t = m_t x_t, where x_t is an image with the noise of level t.
    The two schedules have different factors m_t, so y_t is rescaled.

    Args:
      trained: the `Schedule` with which the energies were trained.
      walk: the `Schedule` to sample on, `trained.strided(count)`.
      density_at: callable that takes the level of each image, an index of `trained`, int32 [B]. It returns
        the log density at these levels, a callable y -> float32 [B].

    Returns:
      A callable like `density_at`, but the levels that it takes are indices of `walk`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> trained = diffusion.t1k()
      >>> density_at = lambda level: lambda y: -tf.reduce_sum(y**2, [1, 2, 3]) / 2
      >>> walk = trained.strided(50)
      >>> sampler = Sampler(walk, on_walk(trained, walk, density_at))
      >>> sampler.recover(tf.zeros([2, 8, 8, 1]), tf.constant([7, 7]), [0, 1])[0].shape
      TensorShape([2, 8, 8, 1])
    """

    def density(level: tf.Tensor) -> LogDensity:
        log_density = density_at(tf.gather(walk.levels, level))
        scale = at(trained.m[walk.levels] / walk.m, level)
        return lambda y: log_density(scale * y)

    return density


def progressive(
    descend: Callable[[Any, int, int], Any],
    x: Any,
    num_levels: int,
    after_part: Callable[[float], object] = lambda share: None,
    most_parts: int = MOST_PARTS,
) -> list[Any]:
    """Samples from x_T down to x_0 in several parts, to report progress and keep states in between.

    x_t is an image with the noise of level t. Each of the min(T, `most_parts`) parts has about the same
    number of levels.

    Args:
      descend: callable, (x_high, high, low) -> x_low. It draws images at level `low` from images at level
        `high`.
      x: x_T, noise (`EnergyModel.prior`), float32 [B, H, W, C].
      num_levels: T.
      after_part: callable, called after each part with that part's share of the T levels, between 0 and 1.
      most_parts: largest number of parts, each one call of `descend`. 1 gives only x_T and x_0.

    Returns:
      A list of images from x_T to x_0, each float32 [B, H, W, C]: x_T and the result of each part. If T
      exceeds `most_parts`, only about 8 of the results are kept; the last is x_0.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> states = progressive(lambda x, high, low: x / 2, tf.ones([1, 2, 2, 1]), num_levels=6)
      >>> len(states), states[-1][0, 0, 0, 0].numpy().item()
      (7, 0.015625)
    """
    bounds = np.linspace(num_levels, 0, min(num_levels, most_parts) + 1).round().astype(int).tolist()
    stride = 1 if num_levels <= most_parts else max(1, most_parts // (_MOST_STATES - 1))
    states = [x]
    for part, (high, low) in enumerate(itertools.pairwise(bounds), 1):
        x = descend(x, high, low)
        after_part((high - low) / num_levels)
        if part % stride == 0 or low == 0:
            states.append(x)
    return states
