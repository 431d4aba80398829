"""The losses, one number per image (paper, Algorithm 1 and equation 20)."""

import tensorflow as tf

from drl_tf.core.diffusion import Schedule, at, per_image
from drl_tf.core.langevin import LogDensity, value_gradient


def contrastive(schedule: Schedule, f_pos: tf.Tensor, f_neg: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Loss of recovery likelihood for each image: how much higher the network rates drawn than real images.

    f(y, t) is the output of the network, a multiple of the log density of y at level t. y+ is a noisy
    training image at level t. y- is drawn from the model, given x_{t+1}, the training image with one more
    step of noise. s_{t+1} is the standard deviation of the noise added from level t to t + 1. The loss is

        (s_1 / s_{t+1}) (f(y-, t) - f(y+, t)).

    Its gradient in the weights estimates the gradient of -log p(y+ | x_{t+1}), times a factor that depends
    on t.

    Args:
      schedule: the noise levels with s, a `Schedule`.
      f_pos: network outputs f(y+, t), float32 [B].
      f_neg: network outputs f(y-, t), float32 [B].
      level: noise level t of each image, 0 to T - 1, int32 [B].

    Returns:
      The loss, float32 [B].

    Examples:
      >>> from drl_tf.core import diffusion
      >>> f_pos, f_neg = tf.constant([1.0]), tf.constant([3.0])
      >>> contrastive(diffusion.t6(), f_pos, f_neg, level=tf.constant([0])).numpy()
      array([2.], dtype=float32)
    """
    return per_image(schedule.loss_weight, level) * (f_neg - f_pos)


def denoising(
    schedule: Schedule, log_density: LogDensity, x: tf.Tensor, x_next: tf.Tensor, level: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Loss of denoising score matching, for models without Langevin chains.

    x is a clean image, x_{t+1} its noisy version at level t + 1, and y_t = m_t x_t the scaled noisy image at
    level t. F is the log density of y_t. s_{t+1} is the standard deviation of the noise added from x_t to
    x_{t+1}. The model predicts y_t as x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t). The loss is the mean, over y_t
    given x and x_{t+1}, of the squared error

        |y_t - (x_{t+1} + s_{t+1}^2 grad F(x_{t+1}, t))|^2 / (2 s_{t+1}^2).

    So it is smallest where the prediction equals E[y_t | x_{t+1}]. The function computes the mean in closed
    form. With D pixel values, the factor A_t of x in x_t, and the standard deviation S_t of the noise in x_t:

        s_{t+1}^2 / 2 |(A_{t+1} x - x_{t+1}) / S_{t+1}^2 - grad F|^2 + D (m_t S_t / S_{t+1})^2 / 2

    Args:
      schedule: the noise levels, a `Schedule` whose attribute `conditional` is 1 at all levels. Then m_t is
        the factor of x_t in x_{t+1}.
      log_density: callable that maps y, float32 [B, H, W, C], to F(y, t) at the level of each image,
        float32 [B]. It must have second derivatives.
      x: clean images, float32 [B, H, W, C].
      x_next: x_{t+1}, float32 [B, H, W, C].
      level: noise level t of each image, 0 to T - 1, int32 [B].

    Returns:
      loss: float32 [B].
      gradient: grad F(x_{t+1}, t), float32 [B, H, W, C].

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
    s = schedule.s[1:]
    S = schedule.S
    A = schedule.A[1:]
    score = (at(A, level) * x - x_next) * at(S[1:] ** -2, level)
    variance = at((schedule.m * S[:-1] / S[1:]) ** 2, level)
    squares = at(s**2, level) * (score - gradient) ** 2 + variance
    return tf.reduce_sum(squares, axis=[1, 2, 3]) / 2, gradient


def score_matching(score: tf.Tensor, noise: tf.Tensor, angle: tf.Tensor, std: float) -> tf.Tensor:
    """Loss of denoising score matching, weighted as in EDM (Karras et al., NeurIPS 2022, section 5).

    A noisy image is x = A x_clean + S eps, with eps ~ N(0, I). With D pixel values and sigma = S / A, the
    loss is (1 + sigma^2 / d^2) |eps + S score|^2 / D, where d is the standard deviation of the data. This
    equals EDM's loss of the denoiser that Tweedie's formula gives. For Gaussian data, the true score has an
    expected loss of 1 at every level.

    Args:
      score: grad log p(x) of the model at the noisy images, float32 [B, H, W, C].
      noise: eps, float32 [B, H, W, C].
      angle: noise level of each image in radians, A = cos(angle), S = sin(angle), float32 [B].
      std: d, above 0.

    Returns:
      The loss, float32 [B].

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> score_matching(zeros, ones, angle=tf.constant([np.pi / 4]), std=1.0).numpy().round(3)
      array([2.], dtype=float32)
    """
    weight = 1 + (tf.tan(angle) / std) ** 2
    S = tf.sin(angle)[:, None, None, None]
    return weight * tf.reduce_mean((noise + S * score) ** 2, axis=[1, 2, 3])


def time_score(
    slope: tf.Tensor, x_clean: tf.Tensor, noise: tf.Tensor, angle: tf.Tensor, std: float
) -> tf.Tensor:
    """Loss that fits d log p(x) / d angle, so that log densities at different noise levels become comparable.

    A noisy image is x = A x_clean + S eps with A = cos(angle), S = sin(angle) and eps ~ N(0, I). It has D
    pixel values. d is the standard deviation of the data. The true derivative at x is the mean, given x, of

        target = (A / S) (|eps|^2 - D) - <eps, x_clean>

    (Guth, Kadkhodaie and Simoncelli 2025, arXiv 2506.05310). The loss is (slope - target)^2 / (2 D (A / S)^2
    + D d^2), where slope is the derivative of the model. The denominator is about the variance of the target,
    so no noise level outweighs the others.

    Args:
      slope: d log p(x) / d angle of the model at fixed x, float32 [B].
      x_clean: clean images, float32 [B, H, W, C].
      noise: eps, float32 [B, H, W, C].
      angle: noise level of each image in radians, float32 [B].
      std: d, standard deviation of the data.

    Returns:
      The loss, float32 [B].

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> angle = tf.constant([np.pi / 4])
      >>> time_score(tf.constant([2.0]), zeros, ones, angle, std=1.0).numpy().round(3)
      array([0.333], dtype=float32)
    """
    D = noise.shape[1:].num_elements()
    cotangent = 1 / tf.tan(angle)
    over_pixels = [1, 2, 3]
    square = tf.reduce_sum(noise**2, over_pixels)
    product = tf.reduce_sum(noise * x_clean, over_pixels)
    target = cotangent * (square - D) - product
    return (slope - target) ** 2 / (D * (2 * cotangent**2 + std**2))


def level_classification(lead: tf.Tensor, other_lead: tf.Tensor) -> tf.Tensor:
    """Loss of telling two noise levels apart, which makes log densities at different levels comparable.

    x_u and x_v are noisy versions of an image at two noise levels u and v. log p(x; u) is the log density of
    the model at level u. If both levels are equally likely, Bayes' rule says P(u | x_u) = sigmoid(log
    p(x_u; u) - log p(x_u; v)). The loss is the cross-entropy of this classifier, (-log P(u | x_u) - log
    P(v | x_v)) / 2. It is smallest if log p(x; u) - log p(x; v) equals that of the true densities. Sources:
    Yadin, Elata and Michaeli (NeurIPS 2024, arXiv 2402.10095), who classify among all levels; the diffusive
    classification loss of arXiv 2601.21025.

    If x_u and x_v share the clean image and the noise, the gradients vary less.

    Args:
      lead: log p(x_u; u) - log p(x_u; v) in nats, float32 [B].
      other_lead: log p(x_v; v) - log p(x_v; u) in nats, float32 [B].

    Returns:
      The loss, float32 [B].

    Examples:
      >>> level_classification(tf.constant([0.0, 2.0]), other_lead=tf.constant([0.0, 2.0])).numpy().round(3)
      array([0.693, 0.127], dtype=float32)
    """
    return (tf.nn.softplus(-lead) + tf.nn.softplus(-other_lead)) / 2


def recovery_nce(log_ratio: tf.Tensor, log_ratio_proposed: tf.Tensor) -> tf.Tensor:
    """Loss of telling x_t of the data from a proposal of x_t, given x_{t+1}: noise-contrastive estimation.

    x_t is an image at noise level t, x_{t+1} the same image one level above. q(x_{t+1} | x_t) is the density
    of the noise that is added, r(x_t | x_{t+1}) that of the proposal. The log ratio of a pair is

        log p(x_t; t) + log q(x_{t+1} | x_t) - log p(x_{t+1}; t + 1) - log r(x_t | x_{t+1}).

    If half of the pairs are data, the probability that a pair is data is sigmoid(log ratio). The loss is the
    cross-entropy of this classifier. Whatever r is, it is smallest where the log ratio is that of the true
    densities. So it makes log densities at different levels comparable, and those of different images at one
    level too. It fits the conditional density of recovery likelihood (Gao et al. 2021, equation 4), whose
    normalising constant is p(x_{t+1}; t + 1), by noise-contrastive estimation of a conditional model (Ma and
    Collins, EMNLP 2018, arXiv 1809.01812).

    Args:
      log_ratio: log ratio in nats where x_t is data, float32 [B].
      log_ratio_proposed: log ratio in nats where x_t is a draw of r, float32 [B].

    Returns:
      The loss, float32 [B]; log 2 if data and proposals have the same density.

    Examples:
      >>> recovery_nce(tf.constant([0.0, 2.0]), log_ratio_proposed=tf.constant([0.0, -2.0])).numpy().round(3)
      array([0.693, 0.127], dtype=float32)
    """
    return (tf.nn.softplus(-log_ratio) + tf.nn.softplus(log_ratio_proposed)) / 2


def recovery_off_data(log_ratio: tf.Tensor) -> tf.Tensor:
    """Loss of log densities at two neighbouring noise levels that disagree about an image.

    x_{t+1} is any image, which need not be like the data, and x_t is a draw of the model's proposal
    r(x_t | x_{t+1}). The densities of all levels obey one equation: adding noise to x_t of density
    p(x_t; t) gives x_{t+1} of density p(x_{t+1}; t + 1). If a model obeys it, the log ratio of
    `recovery_nce` is near 0 where the step between the levels is small. The loss is log(1 + log_ratio^2) / 2.
    It carries densities from high noise down to images on which no other loss trains. Lai et al. (ICML 2023,
    arXiv 2210.04296) teach scores to obey this equation.

    At low noise a change of the weights moves the log ratio of a far image by thousands of nats. The
    logarithm, the robust loss named after Cauchy, keeps a few such images from outweighing all others.

    Args:
      log_ratio: log ratio in nats, float32 [B].

    Returns:
      The loss, float32 [B]; 0 where the log ratio is 0.

    Examples:
      >>> recovery_off_data(tf.constant([0.0, 2.0, -2.0])).numpy().round(3)
      array([0.   , 0.805, 0.805], dtype=float32)
    """
    return tf.math.log1p(log_ratio**2) / 2


def initializer(
    start: tf.Tensor, proposal: tf.Tensor, y_mean: tf.Tensor, y_neg: tf.Tensor, data_share: float
) -> tf.Tensor:
    """Loss of the initializer g, the network that proposes where a chain starts.

    x is a clean image, y_t its scaled noisy version at level t, and x_{t+1} its noisy version one level
    above. y^0 and y^K are the first and the last state of the chain that draws y_t given x_{t+1}. The loss is

        (1 - data_share) |y^K - y^0|^2 + data_share |E[y_t | x, x_{t+1}] - g|^2.

    With the first term, g learns from the chains (CDRL, section 3.2). With the second term, g learns the mean
    of the data, E[y_t | x_{t+1}]. The gradient goes through g only.

    Args:
      start: y^0 = g + noise, float32 [B, H, W, C].
      proposal: g(x_{t+1}, t), the output of the initializer, float32 [B, H, W, C].
      y_mean: E[y_t | x, x_{t+1}], float32 [B, H, W, C].
      y_neg: y^K, float32 [B, H, W, C].
      data_share: weight of the second term, 0 to 1.

    Returns:
      The loss, float32 [B].

    Examples:
      >>> zeros, ones = tf.zeros([1, 2, 2, 1]), tf.ones([1, 2, 2, 1])
      >>> initializer(start=zeros, proposal=zeros, y_mean=ones, y_neg=2 * ones, data_share=0.5).numpy()
      array([10.], dtype=float32)
    """

    def distance(target: tf.Tensor, guess: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum((tf.stop_gradient(target) - guess) ** 2, axis=[1, 2, 3])

    return (1 - data_share) * distance(y_neg, start) + data_share * distance(y_mean, proposal)
