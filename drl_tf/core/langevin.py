"""Langevin dynamics on any log density (paper, equation 14)."""

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

# y, float32 [B, ...] -> log density of each image, float32 [B].
LogDensity: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


def value_gradient(log_prob: LogDensity, y: tf.Tensor) -> tf.Tensor:
    """Returns the gradient in y of the sum of log_prob(y) over the images, with the shape and dtype of `y`.

    If the log density of image i depends on image i only, row i of the result is the gradient of that image's
    own log density.

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      y: images or other states, float32 [B, ...].

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

    delta is the step size, and z_k the noise of step k. Each step computes one gradient. No step is rejected,
    so the chain is biased: on a Gaussian of variance 1 / l, its stationary variance is 1 / (l
    (1 - delta^2 l / 4)).

    With beta, a step uses the gradient d_k = grad log p(y) at its own state, and the gradient d_{k-1} of the
    previous step. With beta = 1/2, this is the two-step method of Adams and Bashforth (Hairer, Norsett,
    Wanner 1993, section III.1):

        y <- y + delta^2 / 2 * ((1 + beta) d_k - beta d_{k-1}) + delta z_k

    The first step uses only d_0. On a Gaussian of variance 1 / l, with a = delta^2 l / 2, the stationary
    variance is 2 (1 - a beta) / (l (1 + a beta) (2 - a - 2 a beta)), and the chain is stable if a < 2 /
    (1 + 2 beta).

    Args:
      log_prob: callable that maps y, float32 [B, ...], to log p(y) + const, float32 [B].
      y: first states of the chains, float32 [B, ...].
      step_size: delta, float32, a scalar or a tensor that broadcasts against `y`.
      num_steps: K, int32, a scalar or a tensor that broadcasts against `y`. The loop runs to the largest K;
        an image stops moving after its own K steps.
      noise: callable that takes the step index k, from 0, and returns z_k, of the shape of `y`; usually
        standard normal.
      beta: weight of the previous step's gradient, float32, a scalar or a tensor that broadcasts against `y`.
        None: each step uses only its own gradient.

    Returns:
      y: the states after K steps, of the shape of the argument y.
      gradient: the gradient d_k that the last step computed, of the shape of `y`; 0 if K = 0.

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
