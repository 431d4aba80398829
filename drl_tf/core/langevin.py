"""Langevin dynamics on any log density (paper, equation 14)."""

import tensorflow as tf


def value_gradient(log_prob, y):
    """Gradient of log_prob, summed over the batch, at `y`.

    Examples:
      >>> value_gradient(lambda y: -(y**2) / 2, tf.constant([1.0, 2.0])).numpy()
      array([-1., -2.], dtype=float32)
    """
    with tf.GradientTape() as tape:
        tape.watch(y)
        value = log_prob(y)
    return tape.gradient(value, y)


def langevin(log_prob, y, step_size, num_steps, noise):
    """Runs the chain

        y <- y + delta^2 / 2 * grad log p(y) + delta z_k,    z_k = noise(k)

    with one gradient a step. There is no accept/reject: on a log density of precision l the stationary
    variance is 1 / (l (1 - delta^2 l / 4)), not 1 / l.

    Args:
      log_prob: callable, y -> log density up to a constant, float32 [B].
      y: where the chain starts, float32 [B, ...].
      step_size: delta, float32, broadcast against `y`.
      num_steps: K, int32, broadcast against `y`: the loop runs to the largest and an image stays where its
        own K ended.
      noise: callable, k -> noise of step k, like `y` (already scaled where it is not standard).

    Returns:
      The state after K steps and the gradient of the last of them, both like `y` (zeros where K = 0).

    Examples:
      Five steps on a standard normal density, with the noise left out: each multiplies y by 1 - 0.1^2 / 2.

      >>> y, gradient = langevin(lambda y: -(y**2) / 2, tf.ones([2]), 0.1, 5, lambda k: tf.zeros([2]))
      >>> y.numpy().round(4)
      array([0.9752, 0.9752], dtype=float32)
    """

    def step(k, y, last_gradient):
        gradient = value_gradient(log_prob, y)
        moved = y + step_size**2 / 2 * gradient + step_size * noise(k)
        return k + 1, tf.where(k < num_steps, moved, y), tf.where(k < num_steps, gradient, last_gradient)

    longest = tf.reduce_max(num_steps)
    state = (tf.constant(0), y, tf.zeros_like(y))
    _, y, gradient = tf.while_loop(lambda k, *_: k < longest, step, state, parallel_iterations=1)
    return y, gradient
