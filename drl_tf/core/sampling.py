"""Sampling by recovery likelihood (paper, Algorithm 2), for any log density."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.langevin import LogDensity, langevin, value_gradient
from drl_tf.core.noise import Seed

MOST_PARTS = 32
_MOST_STATES = 9
# Level t of each image, int32 [B] -> log density, a callable y -> F(y, t), float32 [B].
DensityAt: TypeAlias = Callable[[tf.Tensor], LogDensity]
Noise: TypeAlias = Callable[[int | tf.Tensor], tf.Tensor]


def conditional(
    schedule: Schedule, log_density: LogDensity, x_next: tf.Tensor, level: tf.Tensor
) -> LogDensity:
    """Returns the log density of y_t given x_{t+1}: F(y, t) - r_t |y - x_{t+1}|^2 / (2 s_{t+1}^2) + const.

    At a marginal top level, r_t is 0, and x_{t+1} has no influence.

    Args:
      schedule: noise levels.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].

    Returns:
      A callable, y -> log p(y | x_{t+1}) + const, float32 [B].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> x_next, level = tf.ones([1, 2, 2, 1]), tf.constant([0])
      >>> conditional(diffusion.t6(), standard_normal, x_next, level)(x_next).numpy()
      array([-2.], dtype=float32)
    """
    tether = at(schedule.conditional / (2 * schedule.s[1:] ** 2), level)
    return lambda y: log_density(y) - tf.reduce_sum(tether * (y - x_next) ** 2, axis=[1, 2, 3])


def conditional_chain(
    schedule: Schedule,
    log_density: LogDensity,
    start: tf.Tensor,
    x_next: tf.Tensor,
    level: tf.Tensor,
    num_steps: int | tf.Tensor | None,
    step_noise: Noise,
    step_scale: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs K Langevin steps on the log density that `conditional` returns.

    Args:
      schedule: noise levels.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      start: start of the chains, float32 [B, H, W, C].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].
      num_steps: K, one int for all images, or int32 [B]. The int 0: draw from `normal_approximation` instead.
        None: return `start` and a gradient of 0.
      step_noise: callable, k -> noise of step k, float32 [B, H, W, C].
      step_scale: q; the noise is multiplied by q, the drift by q^2.

    Returns:
      y after K steps and the gradient of the last step, both float32 [B, H, W, C].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> x_next, level = tf.zeros([2, 4, 4, 1]), tf.constant([0, 3])
      >>> step_noise = lambda k: noise.normal(noise.fold([0, 0], k), [2, 4, 4, 1])
      >>> y, gradient = conditional_chain(
      ...     diffusion.t6(), standard_normal, x_next, x_next, level, 30, step_noise
      ... )
      >>> y.shape
      TensorShape([2, 4, 4, 1])
    """
    if num_steps is None:
        return start, tf.zeros_like(start)
    if isinstance(num_steps, int) and num_steps == 0:
        return normal_approximation(schedule, log_density, x_next, level, step_noise(0))
    log_conditional = conditional(schedule, log_density, x_next, level)
    steps = tf.reshape(num_steps, [-1, 1, 1, 1])
    return langevin(log_conditional, start, step_scale * at(schedule.delta, level), steps, step_noise)


def normal_approximation(
    schedule: Schedule, log_density: LogDensity, x_next: tf.Tensor, level: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws from the first-order approximation of p(y | x_{t+1}) (paper, T = 1000):

        y ~ N(x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t), s_{t+1}^2 I)

    The draws are not exact: for a quadratic F of precision l, p has variance s^2 / (1 + s^2 l), not s^2.

    Args:
      schedule: noise levels.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].
      noise: standard normal noise, float32 [B, H, W, C].

    Returns:
      y and grad F(x_{t+1}, t), both float32 [B, H, W, C].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> schedule, x_next, level = diffusion.t1k(), tf.ones([1, 2, 2, 1]), tf.constant([500])
      >>> y, gradient = normal_approximation(schedule, standard_normal, x_next, level, tf.zeros([1, 2, 2, 1]))
      >>> y[0, 0, 0].numpy().round(3), (1 - schedule.s[501] ** 2).round(3).item()
      (array([0.99], dtype=float32), 0.99)
    """
    gradient = value_gradient(log_density, x_next)
    s = at(schedule.s[1:], level)
    return x_next + s**2 * gradient + s * noise, gradient


@dataclasses.dataclass(frozen=True, eq=False)
class Sampler:
    """Algorithm 2: goes from noise to image, one level at a time.

    Attributes:
      schedule: noise levels to visit.
      density_at: callable, t int32 [B] -> log density, a callable y -> F(y, t) float32 [B].
      start_at: callable, (x_{t+1}, t, seed) -> y^0, the start of the chains.
      steps_at: callable, t -> K, the argument `num_steps` of `conditional_chain`.
      noise_scale: factor of the Langevin noise.
      step_scale: q; the noise is multiplied by q, the drift by q^2.
      first: index of the first image; image i depends on (seed, first + i) only.

    Examples:
      If the density at every level is standard normal, the samples are standard normal too.

      >>> from drl_tf.core import diffusion
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> sampler = Sampler(diffusion.t1k(), density_at=lambda level: standard_normal)
      >>> x_T = noise.normal([0, 1], [64, 4, 4, 1])
      >>> x_0 = sampler.descend(x_T, tf.constant(999), tf.constant(0), [0, 2])
      >>> tf.math.reduce_std(x_0).numpy().round(1).item()
      1.0
    """

    schedule: Schedule
    density_at: DensityAt
    start_at: Callable[[tf.Tensor, tf.Tensor, Seed], tf.Tensor] = lambda x_next, level, seed: x_next
    steps_at: Callable[[tf.Tensor], int | tf.Tensor | None] = lambda level: 0
    noise_scale: float = 1.0
    step_scale: float = 1.0
    first: int | tf.Tensor = 0

    def recover(self, x_next: tf.Tensor, level: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Draws x_t given x_{t+1}.

        Args:
          x_next: x_{t+1}, float32 [B, H, W, C].
          level: t, int32 [B].
          seed: int32 [2].

        Returns:
          x_t, float32 [B, H, W, C].

        Examples:
          >>> from drl_tf.core import diffusion
          >>> sampler = Sampler(diffusion.t1k(), lambda level: lambda y: tf.reduce_sum(0 * y, [1, 2, 3]))
          >>> sampler.recover(tf.zeros([2, 8, 8, 1]), tf.constant([7, 7]), [0, 1]).shape
          TensorShape([2, 8, 8, 1])
        """

        def step_noise(k: int | tf.Tensor) -> tf.Tensor:
            step_seed = noise.fold(seed, noise.LANGEVIN, k)
            return self.noise_scale * noise.normal(step_seed, tf.shape(x_next), self.first)

        # The chain starts at y^0: x_{t+1}, or a proposal.
        log_density = self.density_at(level)
        start = self.start_at(x_next, level, seed)

        # K Langevin steps on log p(y | x_{t+1}).
        y, _ = conditional_chain(
            self.schedule,
            log_density,
            start,
            x_next,
            level,
            self.steps_at(level),
            step_noise,
            self.step_scale,
        )

        # x_t from y = m_t x_t.
        return y / at(self.schedule.m, level)

    def descend(self, x: tf.Tensor, high: tf.Tensor, low: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Goes from x_high down to x_low in one loop; graph and memory do not grow with the number of levels.

        Args:
          x: x_high, float32 [B, H, W, C].
          high: level at the start, int32 [].
          low: level at the end, int32 [].
          seed: int32 [2].

        Returns:
          x_low, float32 [B, H, W, C].

        Examples:
          >>> from drl_tf.core import diffusion
          >>> sampler = Sampler(diffusion.t1k(), lambda level: lambda y: tf.reduce_sum(0 * y, [1, 2, 3]))
          >>> sampler.descend(tf.zeros([2, 8, 8, 1]), tf.constant(3), tf.constant(0), [0, 1]).shape
          TensorShape([2, 8, 8, 1])
        """

        def step(t: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            level = tf.fill([tf.shape(x)[0]], t - 1)
            lower = self.recover(x, level, noise.fold(seed, noise.LANGEVIN, t - 1))
            return t - 1, tf.ensure_shape(lower, x.shape)

        return tf.while_loop(lambda t, x: t > low, step, (high, x), parallel_iterations=1)[1]


def on_walk(trained: Schedule, walk: Schedule, density_at: DensityAt) -> DensityAt:
    """Converts log densities at trained levels to log densities at the levels of a walk.

    Args:
      trained: schedule with which the energies were trained.
      walk: `trained.strided(count)`.
      density_at: callable, level of `trained` int32 [B] -> log density of y_t = m_t x_t, m_t of `trained`.

    Returns:
      A callable, level of `walk` int32 [B] -> log density of y_t = m_t x_t, m_t of `walk`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> trained = diffusion.t1k()
      >>> density_at = lambda level: lambda y: -tf.reduce_sum(y**2, [1, 2, 3]) / 2
      >>> walk = trained.strided(50)
      >>> sampler = Sampler(walk, on_walk(trained, walk, density_at))
      >>> sampler.recover(tf.zeros([2, 8, 8, 1]), tf.constant([7, 7]), [0, 1]).shape
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
    """Goes from x_T down to x_0 in min(T, `most_parts`) parts, each of about equally many levels.

    Args:
      descend: callable, (x_high, high, low) -> x_low.
      x: x_T, standard normal noise, float32 [B, H, W, C].
      num_levels: T.
      after_part: callable; after each part, it gets the part's share of the T levels, between 0 and 1.
      most_parts: largest number of parts, each one call of `descend`; give 1 if you need x_0 only.

    Returns:
      A list of states from x_T to x_0, float32 [B, H, W, C]: x_T and the state after each part. If T exceeds
      `most_parts`, the list has x_T, the state after every n-th part with n = max(1, `most_parts` // 8), and
      x_0: nine states by default.

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
