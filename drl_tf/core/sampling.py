"""Sampling by recovery likelihood (paper, Algorithm 2), over any log density."""

import itertools

import numpy as np
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.core.diffusion import at
from drl_tf.core.langevin import langevin, value_gradient

_MOST_PARTS, _MOST_STATES = 32, 9


def conditional(schedule, log_density, x_next, level):
    """The log density of y_t given x_{t+1}, F(y, t) - r_t |y - x_{t+1}|^2 / (2 s_{t+1}^2).

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: t, int32 [B].

    Returns:
      A callable as `log_density`.
    """
    tether = at(schedule.conditional / (2 * schedule.s[1:] ** 2), level)
    return lambda y: log_density(y) - tf.reduce_sum(tether * (y - x_next) ** 2, axis=[1, 2, 3])


def conditional_chain(schedule, log_density, start, x_next, level, num_steps, step_noise, step_scale=1.0):
    """K Langevin steps on `conditional`.

    Args:
      schedule, log_density, x_next, level: as in `conditional`.
      start: where the chains start, like `x_next`.
      num_steps: K, int, or int32 [B], one for each image; the int 0 draws from the `normal_approximation`.
      step_noise: callable, k -> noise of step k, like `start`.
      step_scale: q, by which the noise is multiplied; the drift is by q^2.

    Returns:
      y after K steps and the gradient of the last step, both float32 [B, H, W, C].
    """
    if isinstance(num_steps, int) and num_steps == 0:
        return normal_approximation(schedule, log_density, x_next, level, step_noise(0))
    log_conditional = conditional(schedule, log_density, x_next, level)
    steps = tf.reshape(num_steps, [-1, 1, 1, 1])
    return langevin(log_conditional, start, step_scale * at(schedule.delta, level), steps, step_noise)


def normal_approximation(schedule, log_density, x_next, level, noise):
    """The first-order approximation of p(y | x_{t+1}), y ~ N(x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t),
    s_{t+1}^2 I) (paper, T = 1000).

    It is not the exact conditional: where F is quadratic of precision l that has variance s^2 / (1 + s^2 l).

    Args:
      schedule, log_density, x_next, level: as in `conditional_chain`.
      noise: standard normal noise, like `x_next`.

    Returns:
      y and grad F(x_{t+1}, t), both float32 [B, H, W, C].
    """
    gradient = value_gradient(log_density, x_next)
    s = at(schedule.s[1:], level)
    return x_next + s**2 * gradient + s * noise, gradient


def denoising_loss(schedule, log_density, x, x_next, level):
    """E[ |y_t - (x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t))|^2 / (2 s_{t+1}^2) | x, x_{t+1} ], summed over the
    pixels.

    That is denoising score matching: -log of the `normal_approximation`'s density at y_t = m_t x_t, up to a
    constant. The mean over y_t is taken in closed form, as s_{t+1}^2 / 2 |(A_{t+1} x - x_{t+1}) / S_{t+1}^2 -
    grad F|^2 + D (m_t S_t / S_{t+1})^2 / 2, which has the same minimum, E[y_t | x_{t+1}] = x_{t+1} + s^2 grad
    F, and a hundredth of the noise where s is small.

    Args:
      schedule, log_density, x_next, level: as in `conditional_chain`, all levels conditional (m_t = a_{t+1});
        the activations within F need second derivatives.
      x: clean images, like `x_next`.

    Returns:
      The loss, float32 [B], and grad F(x_{t+1}, t), like `x_next`.
    """
    gradient = value_gradient(log_density, x_next)
    s, S, A = schedule.s[1:], schedule.S, schedule.A[1:]
    score = (at(A, level) * x - x_next) * at(S[1:] ** -2, level)
    left = at((schedule.m * S[:-1] / S[1:]) ** 2, level)
    return tf.reduce_sum(at(s**2, level) * (score - gradient) ** 2 + left, axis=[1, 2, 3]) / 2, gradient


def denoise(
    schedule, density_at, x_next, level, seed, num_steps, noise_scale=1.0, step_scale=1.0, first=0, start=None
):
    """Draws x_t given x_{t+1} by K Langevin steps, or by the normal approximation where K = 0.

    Args:
      schedule, x_next, level, num_steps, step_scale: as in `conditional_chain`.
      density_at: callable, level -> log density as in `conditional_chain`.
      seed: int32 [2].
      noise_scale: multiple of the Langevin noise.
      first: index of the first image; image i depends on (seed, first + i) alone.
      start: where the chains start; x_{t+1} where None.

    Returns:
      x_t, float32 [B, H, W, C].
    """

    def step_noise(k):
        return noise_scale * noise.normal(noise.fold(seed, noise.LANGEVIN, k), tf.shape(x_next), first)

    start = x_next if start is None else start
    y, _ = conditional_chain(
        schedule, density_at(level), start, x_next, level, num_steps, step_noise, step_scale
    )
    return y / at(schedule.m, level)


def tweedie(schedule, log_density, x_0):
    """The mean of the clean image given x_0: (x_0 + S_0^2 grad_{x_0} F(m_0 x_0, 0)) / A_0.

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, 0), float32 [B].
      x_0: float32 [B, H, W, C].

    Returns:
      x, float32 [B, H, W, C].
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
    """

    def density(level):
        log_density = density_at(tf.gather(walk.levels, level))
        scale = at(trained.m[walk.levels] / walk.m, level)
        return lambda y: log_density(scale * y)

    return density


def descend(denoise_step, x, high, low, seed):
    """Goes from x_high down to x_low in one loop, whose graph and memory do not grow with the number of
    levels.

    Args:
      denoise_step: callable, (x_{t+1}, t int32 [], seed int32 [2]) -> x_t.
      x: x_high, float32 [B, H, W, C].
      high, low: int32 [].
      seed: int32 [2].

    Returns:
      x_low, like `x`.
    """

    def step(t, x):
        return t - 1, tf.ensure_shape(
            denoise_step(x, t - 1, noise.fold(seed, noise.LANGEVIN, t - 1)), x.shape
        )

    return tf.while_loop(lambda t, x: t > low, step, (high, x), parallel_iterations=1)[1]


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
    """
    bounds = np.linspace(num_levels, 0, min(num_levels, _MOST_PARTS) + 1).round().astype(int).tolist()
    stride, states = 1 if num_levels <= _MOST_PARTS else _MOST_PARTS // (_MOST_STATES - 1), [x]
    for part, (high, low) in enumerate(itertools.pairwise(bounds), 1):
        x = descend(x, high, low)
        after_part((high - low) / num_levels)
        if part % stride == 0:
            states.append(x)
    return states
