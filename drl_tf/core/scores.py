"""Scores of clean images at several noise levels: energies, and gradients that show unlikely pixels."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from drl_tf.core.diffusion import Schedule, at
from drl_tf.core.langevin import LogDensity


def levels(walk: Schedule, scoring_level: int) -> np.ndarray:
    """Returns the noise levels at which images are scored: those of sampling, and `scoring_level`.

    Args:
      walk: the noise levels that sampling visits, a `Schedule`; see `EnergyModel.walk`.
      scoring_level: the level at which to compare images, an int; see `EnergyModel.scoring_level`.

    Returns:
      Levels t of the schedule of training, ascending, without duplicates, int32 [L].

    Examples:
      >>> from drl_tf.core.diffusion import t1k
      >>> levels(t1k().strided(4), scoring_level=100).tolist()
      [0, 100, 249, 499, 749]
    """
    return np.union1d(walk.levels, [scoring_level]).astype(np.int32)


def level_scores(
    schedule: Schedule, density_at: Callable[[tf.Tensor], LogDensity], x: tf.Tensor, level: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the log density of clean images at a noise level, and its gradient for each pixel.

    At level t, a clean image x is scaled to x_t = A_t x, without noise, and to y_t = m_t x_t. A_t is the
    factor of the clean image in noisy images, S_t the standard deviation of their noise, and F(y_t, t) the
    log density of y_t up to a constant. Denoising by Tweedie's formula treats x_t as a noisy image and
    estimates the clean image as (x_t + S_t g) / A_t, with

        g = S_t grad_{x_t} log p(x_t) = S_t m_t grad_y F(y_t, t).

    So g is how far denoising moves each pixel, in standard deviations of the noise. |g| is large at unlikely
    pixels.

    Args:
      schedule: the noise levels with A, S and m, a `Schedule`.
      density_at: callable that takes t, int32 [B], and returns the log density at these levels, a callable
        that maps y, float32 [B, H, W, C], to F(y, t), float32 [B].
      x: clean images in [-1, 1], float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].

    Returns:
      log_density: F(y_t, t) in nats, float32 [B].
      g: float32 [B, H, W, C].

    Examples:
      >>> from drl_tf.core.diffusion import t6
      >>> def white(level):                       # y ~ N(0, I) at every level.
      ...     return lambda y: -tf.reduce_sum(y**2, [1, 2, 3]) / 2
      >>> F, g = level_scores(t6(), white, tf.ones([1, 2, 2, 1]), tf.constant([5]))
      >>> F.numpy().round(3), g.numpy().ravel().round(3)
      (array([-0.156], dtype=float32), array([-0.268, -0.268, -0.268, -0.268], dtype=float32))
    """
    y = at(schedule.m * schedule.A[:-1], level) * x
    log_density = density_at(level)
    with tf.GradientTape() as tape:
        tape.watch(y)
        F = log_density(y)
    return F, at(schedule.S[:-1] * schedule.m, level) * tape.gradient(F, y)


def scores(
    schedule: Schedule,
    density_at: Callable[[tf.Tensor], LogDensity],
    x: tf.Tensor,
    at_levels: Sequence[int] | np.ndarray,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes energies of clean images, and how far denoising moves their pixels, at several noise levels.

    At level t, the energy is -F(y_t, t), where F is the log density of y_t, the scaled image without noise. g
    is the shift of each pixel by denoising, in standard deviations of the noise. `level_scores` defines both.

    Args:
      schedule: the noise levels and their constants, a `Schedule`.
      density_at: callable that takes t, int32 [B], and returns the log density at these levels, a callable
        that maps y, float32 [B, H, W, C], to F(y, t), float32 [B].
      x: clean images in [-1, 1], float32 [B, H, W, C].
      at_levels: L noise levels t, ints.

    Returns:
      energy: energies in nats, float32 [B, L].
      gradient: norm of g over all pixels and channels, float32 [B, L].
      maps: root mean square of g over the channels of each pixel, float32 [B, L, H, W].

    Examples:
      >>> from drl_tf.core.diffusion import t6
      >>> def white(level):
      ...     return lambda y: -tf.reduce_sum(y**2, [1, 2, 3]) / 2
      >>> energy, gradient, maps = scores(t6(), white, tf.ones([3, 2, 2, 1]), [0, 5])
      >>> energy.shape, gradient.numpy()[0].round(3), maps.shape
      (TensorShape([3, 2]), array([0.018, 0.536], dtype=float32), TensorShape([3, 2, 2, 2]))
    """

    def one(t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        F, g = level_scores(schedule, density_at, x, tf.fill(tf.shape(x)[:1], t))
        squares = g**2
        return -F, tf.sqrt(tf.reduce_sum(squares, [1, 2, 3])), tf.sqrt(tf.reduce_mean(squares, -1))

    kinds = (tf.float32, tf.float32, tf.float32)
    found = tf.map_fn(one, tf.constant(at_levels, tf.int32), fn_output_signature=kinds, parallel_iterations=1)
    return tuple(tf.transpose(part, [1, 0, *range(2, part.shape.rank)]) for part in found)
