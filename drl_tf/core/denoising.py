"""Denoises images by Tweedie's formula, and proposes y_t from the denoised image."""

from typing import Any

import tensorflow as tf

from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.guidance import Terms
from drl_tf.core.langevin import LogDensity, value_gradient
from drl_tf.core.weights import Weights


def posterior_mean(schedule: Schedule, x: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Returns the mean of x_t given the clean image x and x_{t+1} (Ho et al. 2020, equation 7).

    It is (A_t s_{t+1}^2 x + a_{t+1} S_t^2 x_{t+1}) / S_{t+1}^2, float32 [B, H, W, C].

    Args:
      schedule: a `Schedule`, whose attributes a, s, A and S hold a_t, s_t, A_t and S_t.
      x: clean images in [-1, 1], float32 [B, H, W, C].
      x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].

    Examples:
      If x_{t+1} holds no noise, the mean is A_t x:
      >>> from drl_tf.core import diffusion
      >>> schedule, x, level = diffusion.t6(), tf.ones([1, 8, 8, 1]), tf.constant([3])
      >>> x_next = at(schedule.A, level + 1) * x
      >>> (posterior_mean(schedule, x, x_next, level)[0, 0, 0, 0].numpy() / schedule.A[3]).round(5).item()
      1.0
    """
    A, S = schedule.A[:-1], schedule.S
    s, a = schedule.s[1:], schedule.a[1:]
    return at(A * s**2 / S[1:] ** 2, level) * x + at(a * S[:-1] ** 2 / S[1:] ** 2, level) * x_next


def posterior_proposal(
    schedule: Schedule, score: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Proposes y_t, the scaled noisy image at level t, given x_{t+1} and the score at x_{t+1}.

    y_t = m_t x_t, where x_t is an image with the noise of level t, and m_t a constant of the level. A_{t+1}
    is the factor of the clean image in x_{t+1}, and S_{t+1} the standard deviation of the noise. Tweedie's
    formula estimates the clean image as x^ = (x_{t+1} + S_{t+1}^2 score) / A_{t+1}. y_t is then drawn as if
    x^ were the clean image. So the draws vary too little: they ignore that x^ is uncertain.

    Args:
      schedule: the noise levels with m, A and S, a `Schedule`.
      score: grad log p(x_{t+1}), the gradient of the log density of noisy images, float32 [B, H, W, C].
      x_next: x_{t+1}, noisy images one level above x_t, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].
      noise: standard normal noise, float32 [B, H, W, C].

    Returns:
      y: the proposal y_t, float32 [B, H, W, C].
      mean: the mean of y_t, without the noise, float32 [B, H, W, C].

    Examples:
      Without noise, y_t equals its mean:
      >>> from drl_tf.core import diffusion
      >>> schedule, x_next, level = diffusion.karras(), tf.ones([1, 2, 2, 1]), tf.constant([2])
      >>> y, mean = posterior_proposal(schedule, -x_next, x_next, level, tf.zeros([1, 2, 2, 1]))
      >>> bool(tf.reduce_all(y == mean)), y.shape
      (True, TensorShape([1, 2, 2, 1]))
    """
    x = (x_next + at(schedule.S**2, level + 1) * score) / at(schedule.A, level + 1)
    mean = at(schedule.m, level) * posterior_mean(schedule, x, x_next, level)
    return mean + at(schedule.posterior_std, level) * noise, mean


def tweedie(schedule: Schedule, log_density: LogDensity, x_0: tf.Tensor) -> tf.Tensor:
    """Removes the noise of level 0: returns the mean of the clean image given x_0, by Tweedie's formula.

    x_0 is an image with the noise of level 0. A_0 is the factor of the clean image in x_0, S_0 the standard
    deviation of the noise, m_0 the constant by which the model scales x_0, and F(y, 0) the log density of
    y = m_0 x_0. The mean is (x_0 + S_0^2 grad_{x_0} F(m_0 x_0, 0)) / A_0.

    Args:
      schedule: the noise levels with m, A and S, a `Schedule`.
      log_density: callable that maps y, float32 [B, H, W, C], to F(y, 0) + const, float32 [B].
      x_0: images with the noise of level 0, float32 [B, H, W, C].

    Returns:
      The mean, float32 [B, H, W, C].

    Examples:
      If x_0 is standard normal, the mean of the clean image is A_0 x_0.

      >>> from drl_tf.core import diffusion
      >>> schedule = diffusion.t6()
      >>> standard_normal = lambda y: -tf.reduce_sum((y / schedule.m[0]) ** 2, [1, 2, 3]) / 2
      >>> x = tweedie(schedule, standard_normal, tf.ones([1, 2, 2, 1]))
      >>> x[0, 0, 0].numpy().round(5), schedule.A[0].round(5).item()
      (array([0.99995], dtype=float32), 0.99995)
    """
    gradient = value_gradient(lambda x: log_density(schedule.m[0] * x), x_0)
    return (x_0 + schedule.S[0] ** 2 * gradient) / schedule.A[0]


def at_lowest_level(model: Any, x_0: tf.Tensor, terms: Terms, weights: Weights) -> tf.Tensor:
    """Returns the mean of the clean image given x_0, by Tweedie's formula, float32 [B, H, W, C].

    Args:
      model: an `EnergyModel`.
      x_0: images with noise level 0, float32 [B, H, W, C].
      terms: classes and their weights, (labels, weight) pairs such as `guidance.guided` returns. The log
        density of images is the weighted sum of the log densities of the pairs' classes. labels: class + 1 of
        each image, int32 [B], or None for no class.
      weights: network weights, 'ema' (averaged) or 'raw'.

    Examples:
      >>> from drl_tf.config.config import Config
      >>> from drl_tf.core.energy_model import EnergyModel
      >>> config = Config().replace(image_size=8, image_channels=1, channels=8, channel_mult=(1,))
      >>> at_lowest_level(EnergyModel(config), tf.ones([2, 8, 8, 1]), ((None, 1.0),), 'ema').shape
      TensorShape([2, 8, 8, 1])
    """
    level = tf.zeros([tf.shape(x_0)[0]], tf.int32)
    return tweedie(model.schedule, model.density_at(level, weights, terms), x_0)
