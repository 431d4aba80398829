"""Sampling by recovery likelihood (paper, Algorithm 2), over any log density."""

import tensorflow as tf

from drl_tf import noise
from drl_tf.diffusion import at
from drl_tf.langevin import langevin, value_gradient


def conditional_chain(schedule, log_density, start, x_next, level, num_steps, step_noise, step_scale=1.0):
    """K Langevin steps on log p(y | x_{t+1}) = F(y, t) - r_t |y - x_{t+1}|^2 / (2 s_{t+1}^2).

    Args:
      schedule: a `diffusion.Schedule`.
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B].
      start: where the chains start, float32 [B, H, W, C].
      x_next: x_{t+1}, like `start`.
      level: t, int32 [B].
      num_steps: K, int, or int32 [B], one for each image.
      step_noise: callable, k -> noise of step k, like `start`.
      step_scale: q, by which the noise is multiplied; the drift is by q^2.

    Returns:
      y after K steps and the gradient of the last step, both float32 [B, H, W, C].
    """
    tether = at(schedule.conditional / (2 * schedule.s[1:] ** 2), level)

    def log_conditional(y):
        return log_density(y) - tf.reduce_sum(tether * (y - x_next) ** 2, axis=[1, 2, 3])

    steps = tf.reshape(num_steps, [-1, 1, 1, 1])
    return langevin(log_conditional, start, step_scale * at(schedule.delta, level), steps, step_noise)


def denoise(schedule, density_at, x_next, level, seed, num_steps, noise_scale=1.0, step_scale=1.0, first=0, start=None):
    """Draws x_t given x_{t+1} by K Langevin steps.

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
    y, _ = conditional_chain(schedule, density_at(level), start, x_next, level, num_steps, step_noise, step_scale)
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


def progressive(denoise_step, x, num_levels, seed):
    """Goes from x_T down to x_0.

    Args:
      denoise_step: callable, (x_{t+1}, t int, seed int32 [2]) -> x_t.
      x: x_T, standard normal noise, float32 [B, H, W, C].
      num_levels: T.
      seed: int32 [2].

    Returns:
      [x_T, ..., x_0], T + 1 tensors like `x`.
    """
    trajectory = [x]
    for t in reversed(range(num_levels)):
        trajectory.append(denoise_step(trajectory[-1], t, noise.fold(seed, noise.LANGEVIN, t)))
    return trajectory
