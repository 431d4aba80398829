"""An image at two neighbouring noise levels: how the data draws the lower one, and how the model proposes it.

A noise level is an angle: x = A x_clean + S eps with A = cos(angle), S = sin(angle). From level t to the
level above, noise is added: x_{t+1} = a x_t + s eps. So a pair of the data has the density
p(x_t) q(x_{t+1} | x_t). The model can draw the pair the other way round, with the density
p(x_{t+1}) r(x_t | x_{t+1}), where r is its proposal. Both densities are equal if log p is right at both
levels and r is exact. So their ratio teaches how log p compares across levels, and it weighs samples of the
model.
"""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True, eq=False)
class LevelPair:
    """Two neighbouring noise levels for each of B images.

    Attributes:
      angle: the lower level t, in radians, float32 [B].
      above: the level t + 1 above, larger than `angle`, float32 [B].

    Examples:
      >>> pair = LevelPair(tf.constant([0.5]), tf.constant([1.0]))
      >>> mean, variance = pair.forward(tf.ones([1, 1, 1, 1]))
      >>> mean.numpy().ravel().round(3), variance.numpy().round(3)
      (array([0.616], dtype=float32), array([0.621], dtype=float32))
    """

    angle: tf.Tensor
    above: tf.Tensor

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean, like `x`, and variance, float32 [B], of x_{t+1} given x_t: a x_t and s^2.

        Args:
          x: x_t, float32 [B, H, W, C].
        """
        a, variance = self._step()
        return _at(a) * x, variance

    def posterior(self, x_clean: tf.Tensor, x_above: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean, like `x_above`, and variance, float32 [B], of x_t given the clean image and x_{t+1}.

        Args:
          x_clean: clean images, float32 [B, H, W, C].
          x_above: x_{t+1}, float32 [B, H, W, C].
        """
        of_clean, of_above, variance = self._posterior()
        return _at(of_clean) * x_clean + _at(of_above) * x_above, variance

    def proposal(self, score: tf.Tensor, x_above: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mean, like `x_above`, and variance, float32 [B], of the model's proposal r(x_t | x_{t+1}).

        Tweedie's formula estimates the clean image from the score. The mean is that of `posterior` with this
        estimate, as in the proposal of sampling, `denoising.posterior_proposal`. The variance is larger than
        there: it includes how uncertain the estimate is, by the norm of the score (Bao et al., ICLR 2022,
        arXiv 2201.06503; here for each image alone).

        Args:
          score: grad log p(x_{t+1}), float32 [B, H, W, C].
          x_above: x_{t+1}, float32 [B, H, W, C].
        """
        A, S = tf.cos(self.above), tf.sin(self.above)
        of_clean, of_above, variance = self._posterior()
        estimate = (x_above + _at(S**2) * score) / _at(A)
        uncertainty = (S / A) ** 2 * tf.nn.relu(1 - S**2 * tf.reduce_mean(score**2, [1, 2, 3]))
        return _at(of_clean) * estimate + _at(of_above) * x_above, variance + of_clean**2 * uncertainty

    def log_ratio(self, x: tf.Tensor, x_above: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Returns log q(x_{t+1} | x_t) - log r(x_t | x_{t+1}) in nats, float32 [B].

        Args:
          x: x_t, float32 [B, H, W, C].
          x_above: x_{t+1}, float32 [B, H, W, C].
          mean: mean of `proposal`, float32 [B, H, W, C].
          variance: variance of `proposal`, float32 [B].
        """
        mean_above, variance_above = self.forward(x)
        return _log_normal(x_above - mean_above, variance_above) - _log_normal(x - mean, variance)

    def _step(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a and s^2, float32 [B] each, with x_{t+1} = a x_t + s eps and eps ~ N(0, I)."""
        A = tf.cos(self.angle)
        variance = tf.sin(self.above - self.angle) * tf.sin(self.above + self.angle) / A**2
        return tf.cos(self.above) / A, variance

    def _posterior(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the weights of x_clean and x_{t+1} in the mean of `posterior`; its variance: [B] each."""
        a, variance = self._step()
        share = variance / tf.sin(self.above) ** 2
        S_squared = tf.sin(self.angle) ** 2
        return tf.cos(self.angle) * share, a * S_squared / tf.sin(self.above) ** 2, S_squared * share


def draw(mean: tf.Tensor, variance: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Returns mean + sqrt(variance) noise, float32 [B, H, W, C].

    Args:
      mean: float32 [B, H, W, C].
      variance: float32 [B].
      noise: standard normal noise, float32 [B, H, W, C].

    Examples:
      >>> draw(tf.zeros([1, 1, 1, 1]), tf.constant([4.0]), tf.ones([1, 1, 1, 1])).numpy().ravel()
      array([2.], dtype=float32)
    """
    return mean + _at(tf.sqrt(variance)) * noise


def _log_normal(difference: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    size = math.prod(difference.shape[1:])
    square = tf.reduce_sum(difference**2, [1, 2, 3])
    return -square / (2 * variance) - size / 2 * tf.math.log(2 * math.pi * variance)


def _at(values: tf.Tensor) -> tf.Tensor:
    """Reshapes one number per image, [B], to [B, 1, 1, 1]."""
    return values[:, None, None, None]
