"""Sampling by recovery likelihood (paper, Algorithm 2), over any log density."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core import diffusion, noise
from drl_tf.core.diffusion import at
from drl_tf.core.langevin import langevin, value_gradient

_MOST_PARTS, _MOST_STATES = 32, 9


def conditional(schedule, log_density, x_next, level):
    """The log density of y_t given x_{t+1}, F(y, t) - r_t |y - x_{t+1}|^2 / (2 s_{t+1}^2), up to a constant.

    r_t is 0 at a top level that is marginal: x_{t+1} then has no influence.

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].

    Returns:
      A callable as `log_density`.

    Examples:
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> x_next, level = tf.ones([1, 2, 2, 1]), tf.constant([0])
      >>> conditional(diffusion.t6(), standard_normal, x_next, level)(x_next).numpy()
      array([-2.], dtype=float32)
    """
    tether = at(schedule.conditional / (2 * schedule.s[1:] ** 2), level)
    return lambda y: log_density(y) - tf.reduce_sum(tether * (y - x_next) ** 2, axis=[1, 2, 3])


def conditional_chain(schedule, log_density, start, x_next, level, num_steps, step_noise, step_scale=1.0):
    """K Langevin steps on `conditional`.

    Args:
      schedule, log_density, x_next, level: as in `conditional`.
      start: where the chains start, like `x_next`.
      num_steps: K, int, or int32 [B], one for each image; the int 0 draws from the `normal_approximation`;
        None stays at `start`.
      step_noise: callable, k -> noise of step k, like `start`.
      step_scale: q, by which the noise is multiplied; the drift is by q^2.

    Returns:
      y after K steps and the gradient of the last step, both float32 [B, H, W, C].

    Examples:
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


def normal_approximation(schedule, log_density, x_next, level, noise):
    """The first-order approximation of p(y | x_{t+1}), y ~ N(x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t),
    s_{t+1}^2 I) (paper, T = 1000).

    The exact conditional differs: for a quadratic F of precision l its variance is s^2 / (1 + s^2 l).

    Args:
      schedule, log_density, x_next, level: as in `conditional_chain`.
      noise: standard normal noise, like `x_next`.

    Returns:
      y and grad F(x_{t+1}, t), both float32 [B, H, W, C].

    Examples:
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
    """Algorithm 2: from noise to an image, one level at a time.

    Attributes:
      schedule: the `diffusion.Schedule` of the levels that are visited.
      density_at: callable, level t int32 [B] -> log density, y -> F(y, t) float32 [B].
      start_at: callable, (x_{t+1}, t, seed) -> y^0, where the chains start.
      steps_at: callable, t -> K, int or int32 [B]; the int 0 draws from the `normal_approximation`; None
        stays at y^0.
      noise_scale: multiple of the Langevin noise.
      step_scale: q, by which the noise is multiplied; the drift is by q^2.
      first: index of the first image; image i depends on (seed, first + i) alone.

    Examples:
      Where the density at every level is standard normal, so are the samples.

      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> sampler = Sampler(diffusion.t1k(), density_at=lambda level: standard_normal)
      >>> x_T = noise.normal([0, 1], [64, 4, 4, 1])
      >>> x_0 = sampler.descend(x_T, tf.constant(999), tf.constant(0), [0, 2])
      >>> tf.math.reduce_std(x_0).numpy().round(1).item()
      1.0
    """

    schedule: diffusion.Schedule
    density_at: Callable
    start_at: Callable = lambda x_next, level, seed: x_next
    steps_at: Callable = lambda level: 0
    noise_scale: float = 1.0
    step_scale: float = 1.0
    first: Any = 0

    def recover(self, x_next, level, seed):
        """Draws x_t given x_{t+1}.

        Args:
          x_next: x_{t+1}, float32 [B, H, W, C].
          level: t, int32 [B].
          seed: int32 [2].

        Returns:
          x_t, like `x_next`.

        Examples:
          >>> sampler = Sampler(diffusion.t1k(), lambda level: lambda y: tf.reduce_sum(0 * y, [1, 2, 3]))
          >>> sampler.recover(tf.zeros([2, 8, 8, 1]), tf.constant([7, 7]), [0, 1]).shape
          TensorShape([2, 8, 8, 1])
        """

        def step_noise(k):
            return self.noise_scale * noise.normal(
                noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), self.first
            )

        # The chain starts at y^0: x_{t+1}, or what the initializer proposes.
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

        # Back from y_t = m_t x_t.
        return y / at(self.schedule.m, level)

    def descend(self, x, high, low, seed):
        """Goes from x_high down to x_low in one loop: its graph and memory do not grow with the levels.

        Args:
          x: x_high, float32 [B, H, W, C].
          high, low: int32 [].
          seed: int32 [2].

        Returns:
          x_low, like `x`.

        Examples:
          >>> sampler = Sampler(diffusion.t1k(), lambda level: lambda y: tf.reduce_sum(0 * y, [1, 2, 3]))
          >>> sampler.descend(tf.zeros([2, 8, 8, 1]), tf.constant(3), tf.constant(0), [0, 1]).shape
          TensorShape([2, 8, 8, 1])
        """

        def step(t, x):
            level = tf.fill([tf.shape(x)[0]], t - 1)
            lower = self.recover(x, level, noise.fold(seed, noise.LANGEVIN, t - 1))
            return t - 1, tf.ensure_shape(lower, x.shape)

        return tf.while_loop(lambda t, x: t > low, step, (high, x), parallel_iterations=1)[1]


def posterior_proposal(schedule, score, x_next, level, noise):
    """Proposes y_t = m_t x_t given x_{t+1}, by the score of x_{t+1}.

    Tweedie's formula gives the mean of the clean image, x^ = (x_{t+1} + S_{t+1}^2 score) / A_{t+1}. The
    proposal is the posterior of y_t given x^ and x_{t+1}. Its variance leaves out what is uncertain in x^.

    Args:
      schedule: a `diffusion.Schedule`.
      score: grad log p of x_{t+1}, like `x_next`.
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].
      noise: standard normal noise, like `x_next`.

    Returns:
      y_t and its mean, like `x_next`.

    Examples:
      >>> schedule, x_next, level = diffusion.karras(), tf.ones([1, 2, 2, 1]), tf.constant([2])
      >>> y, mean = posterior_proposal(schedule, -x_next, x_next, level, tf.zeros([1, 2, 2, 1]))
      >>> bool(tf.reduce_all(y == mean)), y.shape
      (True, TensorShape([1, 2, 2, 1]))
    """
    x = (x_next + at(schedule.S**2, level + 1) * score) / at(schedule.A, level + 1)
    mean = at(schedule.m, level) * diffusion.posterior_mean(schedule, x, x_next, level)
    return mean + at(schedule.posterior_std, level) * noise, mean


def tweedie(schedule, log_density, x_0):
    """The mean of the clean image given x_0: (x_0 + S_0^2 grad_{x_0} F(m_0 x_0, 0)) / A_0.

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, 0), float32 [B].
      x_0: float32 [B, H, W, C].

    Returns:
      x, float32 [B, H, W, C].

    Examples:
      Of white noise all is noise: what is left of the image is A_0 x_0.

      >>> schedule = diffusion.t6()
      >>> standard_normal = lambda y: -tf.reduce_sum((y / schedule.m[0]) ** 2, [1, 2, 3]) / 2
      >>> x = tweedie(schedule, standard_normal, tf.ones([1, 2, 2, 1]))
      >>> x[0, 0, 0].numpy().round(5), schedule.A[0].round(5).item()
      (array([0.99995], dtype=float32), 0.99995)
    """
    gradient = value_gradient(lambda x: log_density(schedule.m[0] * x), x_0)
    return (x_0 + schedule.S[0] ** 2 * gradient) / schedule.A[0]


def on_walk(trained, walk, density_at):
    """The log densities that the levels of a walk have.

    Args:
      trained: the `diffusion.Schedule` of the energies.
      walk: a `diffusion.Schedule`, `trained.strided(count)`.
      density_at: callable, level of `trained` int32 [B] -> callable, y_t = m_t x_t -> F(y_t, t).

    Returns:
      As `density_at`, for levels of `walk` and its own m.

    Examples:
      >>> trained = diffusion.t1k()
      >>> density_at = lambda level: lambda y: -tf.reduce_sum(y**2, [1, 2, 3]) / 2
      >>> walk = trained.strided(50)
      >>> sampler = Sampler(walk, on_walk(trained, walk, density_at))
      >>> sampler.recover(tf.zeros([2, 8, 8, 1]), tf.constant([7, 7]), [0, 1]).shape
      TensorShape([2, 8, 8, 1])
    """

    def density(level):
        log_density = density_at(tf.gather(walk.levels, level))
        scale = at(trained.m[walk.levels] / walk.m, level)
        return lambda y: log_density(scale * y)

    return density


def progressive(descend, x, num_levels, after_part=lambda share: None):
    """Goes from x_T down to x_0: level by level where there are few, else in 32 parts.

    Args:
      descend: callable, (x_high, high int, low int) -> x_low.
      x: x_T, standard normal noise, float32 [B, H, W, C].
      num_levels: T.
      after_part: called with the share of the levels that was walked since the last call.

    Returns:
      States from x_T to x_0, tensors like `x`: all T + 1, or nine of them where there are more than 32
      levels.

    Examples:
      >>> states = progressive(lambda x, high, low: x / 2, tf.ones([1, 2, 2, 1]), num_levels=6)
      >>> len(states), states[-1][0, 0, 0, 0].numpy().item()
      (7, 0.015625)
    """
    bounds = np.linspace(num_levels, 0, min(num_levels, _MOST_PARTS) + 1).round().astype(int).tolist()
    stride, states = 1 if num_levels <= _MOST_PARTS else _MOST_PARTS // (_MOST_STATES - 1), [x]
    for part, (high, low) in enumerate(itertools.pairwise(bounds), 1):
        x = descend(x, high, low)
        after_part((high - low) / num_levels)
        if part % stride == 0:
            states.append(x)
    return states
