"""Losses, one number for each image; no networks, no chains (paper, Algorithm 1 and equation 20)."""

import tensorflow as tf

from drl_tf.core.diffusion import at, per_image
from drl_tf.core.langevin import value_gradient


def contrastive(schedule, f_pos, f_neg, level):
    """Recovery likelihood: (s_1 / s_{t+1}) (f(y-, t) - f(y+, t)).

    Its gradient in the weights is that of -log p(y+ | x_{t+1}) at the weight of the level.

    Args:
      schedule: a `diffusion.Schedule`.
      f_pos: network outputs of data y+ = m_t x_t, float32 [B].
      f_neg: those of the states y- of the chains, float32 [B].
      level: t, int32 [B].

    Returns:
      float32 [B].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> f_pos, f_neg = tf.constant([1.0]), tf.constant([3.0])
      >>> contrastive(diffusion.t6(), f_pos, f_neg, level=tf.constant([0])).numpy()
      array([2.], dtype=float32)
    """
    return per_image(schedule.loss_weight, level) * (f_neg - f_pos)


def denoising(schedule, log_density, x, x_next, level):
    """Denoising score matching: E[ |y_t - (x_{t+1} + s_{t+1}^2 grad F)|^2 / (2 s_{t+1}^2) | x, x_{t+1} ].

    F and its gradient are taken at x_{t+1}; the square is summed over the pixels. This is -log of the density
    of `sampling.normal_approximation` at y_t = m_t x_t, up to a constant. The mean over y_t has a closed
    form: s_{t+1}^2 / 2 |(A_{t+1} x - x_{t+1}) / S_{t+1}^2 - grad F|^2 + D (m_t S_t / S_{t+1})^2 / 2. Its
    minimum is the same, E[y_t | x_{t+1}] = x_{t+1} + s^2 grad F, and it has a hundredth of the noise where s
    is small.

    Args:
      schedule: a `diffusion.Schedule` whose levels are all conditional (m_t = a_{t+1}).
      log_density: callable, y -> F(y, t) of each image at its own level, float32 [B]; the activations within
        it need second derivatives.
      x: clean images, float32 [B, H, W, C].
      x_next: x_{t+1}, like `x`.
      level: t, int32 [B].

    Returns:
      The loss, float32 [B], and grad F(x_{t+1}, t), like `x`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> schedule, level, x = diffusion.t1k(), tf.constant([10]), tf.zeros([1, 8, 8, 1])
      >>> def standard_normal(y):
      ...     return -tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2
      >>> losses, gradient = denoising(schedule, standard_normal, x, x + 0.1, level)
      >>> gradient[0, 0, 0].numpy()
      array([-0.1], dtype=float32)
    """
    gradient = value_gradient(log_density, x_next)
    s, S, A = schedule.s[1:], schedule.S, schedule.A[1:]
    score = (at(A, level) * x - x_next) * at(S[1:] ** -2, level)
    left = at((schedule.m * S[:-1] / S[1:]) ** 2, level)
    return tf.reduce_sum(at(s**2, level) * (score - gradient) ** 2 + left, axis=[1, 2, 3]) / 2, gradient


def score_matching(score, noise, angle, std):
    """Denoising score matching of noisy images x = A x_clean + S eps (Karras et al., NeurIPS 2022, section
    5).

    It is the mean square over the pixels of (D(x) - x_clean) / c_out, where D is Tweedie's denoiser: (1 +
    sigma^2 / d^2) |eps + S score|^2 / D. The best constant score of Gaussian data has loss 1 at every level.

    Args:
      score: grad log p(x) of the model, float32 [B, H, W, C].
      noise: eps, like `score`.
      angle: noise level of each image, A = cos(angle), S = sin(angle), float32 [B].
      std: d, deviation of the data.

    Returns:
      float32 [B].

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> score_matching(zeros, ones, angle=tf.constant([np.pi / 4]), std=1.0).numpy().round(3)
      array([2.], dtype=float32)
    """
    weight = 1 + (tf.tan(angle) / std) ** 2
    S = tf.sin(angle)[:, None, None, None]
    return weight * tf.reduce_mean((noise + S * score) ** 2, axis=[1, 2, 3])


def time_score(slope, x_clean, noise, angle, std):
    """Matching of d log p(x) / d angle (Guth, Kadkhodaie and Simoncelli 2025), which teaches heights.

    Its conditional mean given x is that of (A / S) (|eps|^2 - D) - <eps, x_clean>.

    Args:
      slope: the model's derivative of log p(x) in the angle at fixed x, float32 [B].
      x_clean: clean images, float32 [B, H, W, C].
      noise: eps, like `x_clean`.
      angle, std: as in `score_matching`.

    Returns:
      (slope - target)^2 / (2 D (A / S)^2 + D d^2), float32 [B]: the variances of the two terms of the target
      where noise is low and where it is high, so that no level outweighs the others.

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> angle = tf.constant([np.pi / 4])
      >>> time_score(tf.constant([2.0]), zeros, ones, angle, std=1.0).numpy().round(3)
      array([0.333], dtype=float32)
    """
    D = noise.shape[1:].num_elements()
    cotangent = 1 / tf.tan(angle)
    over_pixels = [1, 2, 3]
    target = cotangent * (tf.reduce_sum(noise**2, over_pixels) - D) - tf.reduce_sum(
        noise * x_clean, over_pixels
    )
    return (slope - target) ** 2 / (D * (2 * cotangent**2 + std**2))


def initializer(start, proposal, y_mean, y_neg, data_share):
    """(1 - share) |y^K - y^0|^2 + share |E[y_t | x, x_{t+1}] - g|^2, taught to g alone (CDRL, section 3.2).

    The minimum of the second term is E[y_t | x_{t+1}]; a known x would leave the variance beta~_{t+1} around
    it.

    Args:
      start: y^0 = g + noise, where the chains started, float32 [B, H, W, C].
      proposal: g.
      y_mean: E[y_t | x, x_{t+1}], like `start`.
      y_neg: y^K, where the chains ended, like `start`.
      data_share: share of the second term, 0 to 1.

    Returns:
      float32 [B].

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> initializer(start=zeros, proposal=zeros, y_mean=ones, y_neg=2 * ones, data_share=0.5).numpy()
      array([10.], dtype=float32)
    """

    def distance(target, guess):
        return tf.reduce_sum((tf.stop_gradient(target) - guess) ** 2, axis=[1, 2, 3])

    return (1 - data_share) * distance(y_neg, start) + data_share * distance(y_mean, proposal)
