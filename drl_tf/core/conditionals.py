"""The density of y_t given x_{t+1}, its Langevin chain and its normal approximation (paper, section 3).

x_t is an image with the noise of level t, x_{t+1} the same image one level up, and y_t = m_t x_t the variable
of the energy at level t. `diffusion` defines these symbols.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.langevin import LogDensity, langevin, value_gradient

Noise: TypeAlias = Callable[[int | tf.Tensor], tf.Tensor]


def conditional(
    schedule: Schedule, log_density: LogDensity, x_next: tf.Tensor, level: tf.Tensor
) -> LogDensity:
    """Returns the log density of y_t given x_{t+1}, from the log density of y_t.

    y_t is the scaled noisy image at level t, and x_{t+1} the noisy image one level above. F(y, t) is the log
    density of y_t, up to a constant. s_{t+1} is the standard deviation of the noise added from x_t to
    x_{t+1}. r_t is 1 at conditional levels and 0 at marginal levels, where x_{t+1} has no effect. Up to a
    constant, the result is

        log p(y | x_{t+1}) = F(y, t) - r_t |y - x_{t+1}|^2 / (2 s_{t+1}^2).

    Args:
      schedule: a `Schedule`, whose attributes `s` and `conditional` hold s_t and r_t.
      log_density: callable that maps y, float32 [B, H, W, C], to F(y, t) at the level of each image,
        float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].

    Returns:
      A callable that maps y, float32 [B, H, W, C], to log p(y | x_{t+1}) + const, float32 [B].

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


def steps_at(config: Any, level: tf.Tensor, steps: Sequence[int] = ()) -> int | tf.Tensor | None:
    """Returns K, the number of Langevin steps of each image, which depends on its noise level.

    Args:
      config: the configuration of the model, a `config.Config`.
      level: noise level t of each image, 0 to T - 1, int32 [B].
      steps: K at each level, [T]. If empty, the function uses the numbers of steps in training.

    Returns:
      K, int32 [B]. If K is 0 at all levels, no chain runs, and the result tells `conditional_chain` what to
      do instead. The int 0 means: draw from the normal approximation (option proposal='x_next'). None means:
      take the start of the chain as the result (option proposal='tweedie').

    Examples:
      >>> from drl_tf.config.config import Config
      >>> steps_at(Config().replace(num_levels=2, mcmc_steps=(5, 3)), tf.constant([1, 1, 0])).numpy()
      array([3, 3, 5], dtype=int32)
    """
    steps = steps or config.steps_by_level
    if any(steps):
        return tf.gather(steps, level)
    return 0 if config.diffusion.proposal == 'x_next' else None


def conditional_chain(
    schedule: Schedule,
    log_density: LogDensity,
    start: tf.Tensor,
    x_next: tf.Tensor,
    level: tf.Tensor,
    num_steps: int | tf.Tensor | None,
    step_noise: Noise,
    step_size: tf.Tensor | None = None,
    beta: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws y_t given x_{t+1} by K Langevin steps on log p(y_t | x_{t+1}).

    y_t is the scaled noisy image at level t, and x_{t+1} the noisy image one level above. F(y, t) is the log
    density of y_t, up to a constant.

    Args:
      schedule: the noise levels and their constants, a `Schedule`.
      log_density: callable that maps y, float32 [B, H, W, C], to F(y, t) at the level of each image,
        float32 [B].
      start: first states of the chains, float32 [B, H, W, C].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].
      num_steps: K, one int for all images, or int32 [B]. The int 0: no chain, y_t is drawn from
        `normal_approximation`. None: no chain, y_t is `start`.
      step_noise: callable that takes the step index k, from 0, and returns standard normal noise,
        float32 [B, H, W, C].
      step_size: step size delta of each image, float32 [B, 1, 1, 1]. None: the entry of `schedule.delta` for
        the level of the image.
      beta: weight of the previous step's gradient in each step, float32 [B, 1, 1, 1]. None: each step uses
        only its own gradient.

    Returns:
      y: the states after K steps, float32 [B, H, W, C].
      gradient: the gradient of log p(y_t | x_{t+1}) that the last step used, float32 [B, H, W, C]. If
        `num_steps` is the int 0, it is grad F(x_{t+1}, t); if None, 0.

    Examples:
      >>> from drl_tf.core import diffusion, noise
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
    delta = at(schedule.delta, level) if step_size is None else step_size
    return langevin(log_conditional, start, delta, steps, step_noise, beta)


def normal_approximation(
    schedule: Schedule, log_density: LogDensity, x_next: tf.Tensor, level: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws y_t given x_{t+1} from a normal approximation, without a chain.

    y_t is the scaled noisy image at level t, and F(y, t) its log density up to a constant. x_{t+1} is the
    noisy image one level above, and s_{t+1} the standard deviation of the noise added from x_t to x_{t+1}.
    With the first-order expansion of F at x_{t+1} instead of F, y_t is normal:

        y ~ N(x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t), s_{t+1}^2 I)

    This is the paper's sampler for T = 1000. Its variance s_{t+1}^2 is too large: if exp F is Gaussian with
    variance 1 / l, the exact variance is s_{t+1}^2 / (1 + s_{t+1}^2 l).

    Args:
      schedule: the noise levels with s, a `Schedule`.
      log_density: callable that maps y, float32 [B, H, W, C], to F(y, t) at the level of each image,
        float32 [B].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].
      noise: standard normal noise, float32 [B, H, W, C].

    Returns:
      y: the draw of y_t, float32 [B, H, W, C].
      gradient: grad F(x_{t+1}, t), float32 [B, H, W, C].

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
