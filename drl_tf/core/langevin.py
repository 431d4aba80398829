"""Langevin dynamics on any log density (paper, equation 14)."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

# y, float32 [B, ...] -> log density of each image, float32 [B].
LogDensity: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


def value_gradient(log_prob: LogDensity, y: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of sum_i log_prob(y)_i in y, with the shape and dtype of `y`.

    If log_prob(y)_i depends on image i only, the gradient has one image's own gradient in each row.

    Examples:
      >>> value_gradient(lambda y: -(y**2) / 2, tf.constant([1.0, 2.0])).numpy()
      array([-1., -2.], dtype=float32)
    """
    with tf.GradientTape() as tape:
        tape.watch(y)
        value = log_prob(y)
    return tape.gradient(value, y)


def langevin(
    log_prob: LogDensity,
    y: tf.Tensor,
    step_size: float | tf.Tensor,
    num_steps: int | tf.Tensor,
    noise: Callable[[tf.Tensor], tf.Tensor],
    beta: float | tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs K steps of unadjusted Langevin dynamics:

        y <- y + delta^2 / 2 * grad log p(y) + delta z_k,    z_k = noise(k)

    Each step computes one gradient. No step is rejected, so the chain is biased: on a Gaussian of variance
    1 / l, its stationary variance is 1 / (l (1 - delta^2 l / 4)).

    With beta, the drift also uses the gradient d_{k-1} of the step before. With beta = 1/2, it is that of the
    two-step method of Adams and Bashforth (Hairer, Norsett, Wanner 1993, section III.1):

        y <- y + delta^2 / 2 * ((1 + beta) d_k - beta d_{k-1}) + delta z_k,    d_k = grad log p(y)

    The first step is plain. On a Gaussian of precision l, with a = delta^2 l / 2, the stationary variance is
    2 (1 - a beta) / (l (1 + a beta) (2 - a - 2 a beta)), and the chain is stable if a < 2 / (1 + 2 beta).

    Args:
      log_prob: callable, y -> log density up to a constant, float32 [B].
      y: start of the chain, float32 [B, ...].
      step_size: delta, float32, broadcast against `y`.
      num_steps: K, int32, broadcast against `y`. The loop runs to the largest K; an image stops moving after
        its own K steps.
      noise: callable, k -> z_k, of the shape of `y`; usually standard normal.
      beta: weight of the last gradient, float32, broadcast against `y`; None: the plain chain. See
        `larger_steps.beta`.

    Returns:
      y after K steps; and grad log p(y) as computed in the last step, 0 if K = 0. Both have the shape of `y`.

    Examples:
      On a standard normal density, a step without noise multiplies y by 1 - 0.1^2 / 2. Five such steps:

      >>> y, gradient = langevin(lambda y: -(y**2) / 2, tf.ones([2]), 0.1, 5, lambda k: tf.zeros([2]))
      >>> y.numpy().round(4)
      array([0.9752, 0.9752], dtype=float32)
    """

    def step(k: tf.Tensor, y: tf.Tensor, last_gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
        gradient = value_gradient(log_prob, y)
        drift = gradient
        if beta is not None:
            drift += beta * (gradient - tf.where(k > 0, last_gradient, gradient))
        moved = y + step_size**2 / 2 * drift + step_size * noise(k)
        return k + 1, tf.where(k < num_steps, moved, y), tf.where(k < num_steps, gradient, last_gradient)

    longest = tf.reduce_max(num_steps)
    state = (tf.constant(0), y, tf.zeros_like(y))
    _, y, gradient = tf.while_loop(lambda k, *_: k < longest, step, state, parallel_iterations=1)
    return y, gradient
