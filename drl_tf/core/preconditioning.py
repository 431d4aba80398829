"""Energies that are log densities at any noise level, preconditioned as in EDM (Karras et al., NeurIPS 2022).

A noise level is an angle: x = A x_clean + S eps with A = cos(angle), S = sin(angle) and sigma = S / A. The
data have mean mu, standard deviation d and D pixels. With z = x / A - mu and c_in = 1 / sqrt(sigma^2 + d^2),

    log p(x) = -|z|^2 c_in^2 / 2 - (d / sigma) e(c_in z) + D log(c_in / A) - D/2 log(2 pi).

The network e is zero before training. So the model starts as the exact log density of Gaussian data.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core.diffusion import Schedule
from drl_tf.core.networks.layers import SpectralLayers
from drl_tf.core.noise import Dropout
from drl_tf.core.saving import SavedNetwork

# With six levels, a sinusoid of the time embedding turns about once per level. So the embedding is smooth,
# yet tells the levels apart.
_TIME_OF_LOG_SIGMA = 4.0
_SCORING_SIGMA = 0.1


def time_of(angle: tf.Tensor) -> tf.Tensor:
    """Converts noise levels from angles to the time input of the networks, 4 log tan(angle).

    Args:
      angle: angles in radians, a tensor of any shape; a noisy image is cos(angle) x + sin(angle) noise.

    Returns:
      The time inputs, of the shape and dtype of `angle`.

    Examples:
      >>> time_of(tf.atan([np.e])).numpy().round(3)
      array([4.], dtype=float32)
    """
    return _TIME_OF_LOG_SIGMA * tf.math.log(tf.tan(angle))


def angle_of(time: tf.Tensor) -> tf.Tensor:
    """Converts time inputs of the networks, which `time_of` computed, back to angles in radians.

    Args:
      time: 4 log tan(angle), a tensor of any shape; a noisy image is cos(angle) x + sin(angle) noise.

    Returns:
      The angles, of the shape and dtype of `time`.

    Examples:
      >>> tf.tan(angle_of(tf.constant([4.0]))).numpy().round(3)
      array([2.718], dtype=float32)
    """
    return tf.atan(tf.exp(time / _TIME_OF_LOG_SIGMA))


def scoring_level(schedule: Schedule) -> int:
    """Returns the noise level t at which to compare images by log p: the level nearest to S_t / A_t = 0.1.

    S_t is the standard deviation of the noise in x_t, and A_t the factor of the clean image. At lower noise,
    log p depends on fine texture more than on shape.

    Args:
      schedule: the noise levels with S and A, a `Schedule`.

    Examples:
      >>> from drl_tf.core import diffusion
      >>> scoring_level(diffusion.karras())
      1
    """
    sigma = schedule.S[:-1] / schedule.A[:-1]
    return int(np.argmin(np.abs(np.log(sigma / _SCORING_SIGMA))))


class PreconditionedEnergy(SavedNetwork, SpectralLayers):
    """Network that computes log p(x), in nats, of noisy images x = cos(angle) x_clean + sin(angle) eps.

    Each image has its own noise level, the angle. A call takes x and what `prepare` computes from the angles
    once for many calls: see the example.

    Args:
      network: the inner network, such as a `UNetEnergy` or an `EnergyNetwork`, which maps scaled images to
        one number each. Its output must be zero before training.
      image_shape: (H, W, C).
      mean: mean of the training images, one number or one per channel.
      std: standard deviation of the training images, above 0.

    Examples:
      Before training, log p is that of Gaussian data:
      >>> from drl_tf.core.preconditioning import time_of
      >>> from drl_tf.core.networks.unet import Size
      >>> from drl_tf.core.networks.unet_energy import UNetEnergy
      >>> size = Size(channels=8, mult=(1,), blocks=1, attention=False, dropout=0.0)
      >>> energy = PreconditionedEnergy(UNetEnergy(size, (8, 8, 1)), (8, 8, 1), mean=0.0, std=0.5)
      >>> x, angle = tf.ones([2, 8, 8, 1]), tf.constant([0.1, 1.5])
      >>> log_prob = energy(x, energy.prepare(time_of(angle)))
      >>> np.allclose(log_prob, energy.gaussian(x, angle), rtol=1e-3)
      True
    """

    arguments = ('network', 'image_shape', 'mean', 'std')

    def __init__(
        self,
        network: Any,
        image_shape: tuple[int, int, int],
        mean: float | Sequence[float],
        std: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.network = network
        self.image_shape = image_shape
        self._dimensions = math.prod(image_shape)
        self.mean = mean
        self.std = std
        self.built = True

    def whitened(self, x: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
        """Scales noisy images to w = (x / A - mu) / sqrt(d^2 + (S / A)^2), standard normal for Gaussian data.

        mu is the mean and d the standard deviation of the training images.

        Args:
          x: noisy images, x = A x_clean + S eps, float32 [B, H, W, C].
          angle: noise level of each image in radians, A = cos(angle), S = sin(angle), float32 [B].

        Returns:
          w, the input of the inner network, float32 [B, H, W, C].
        """
        return _at(self._c_in(angle)) * (x / _at(tf.cos(angle)) - self.mean)

    def unwhitened(self, w: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
        """Inverse of `whitened`: maps scaled images w back to noisy images x.

        Args:
          w: scaled images, float32 [B, H, W, C].
          angle: noise level of each image, float32 [B]: x = cos(angle) x_clean + sin(angle) eps.

        Returns:
          x, float32 [B, H, W, C].
        """
        return _at(tf.cos(angle)) * (w / _at(self._c_in(angle)) + self.mean)

    def log_volume(self, angle: tf.Tensor) -> tf.Tensor:
        """Returns the log Jacobian determinant of `unwhitened`, the map from whitened to noisy images.

        Args:
          angle: noise level of each image, float32 [B]: x = cos(angle) x_clean + sin(angle) eps.

        Returns:
          float32 [B].
        """
        return self._dimensions * tf.math.log(tf.cos(angle) / self._c_in(angle))

    def gaussian(self, x: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
        """Returns the log density of noisy images if the clean images are Gaussian, in nats, float32 [B].

        Mean and standard deviation of the clean images are `mean` and `std`.

        Args:
          x: noisy images, float32 [B, H, W, C].
          angle: noise level of each image, float32 [B]: x = cos(angle) x_clean + sin(angle) eps.
        """
        return self._standard_normal(self.whitened(x, angle)) - self.log_volume(angle)

    def prepare(self, time: tf.Tensor, labels: tf.Tensor | None = None) -> dict[str, Any]:
        """Computes the tensors that do not depend on the images, once for many calls.

        Args:
          time: noise level of each image as a time, `time_of(angle)`, float32 [B]. The angle is that in
            x = cos(angle) x_clean + sin(angle) eps.
          labels: class + 1 of each image, or 0 for no class, int32 [B]. None: no image has a class.

        Returns:
          A dict of tensors, to pass to `call` as `prepared`.
        """
        return {
            'angle': angle_of(time),
            'network': self.network.prepare(time, labels),
        }

    def call(
        self, x: tf.Tensor, prepared: dict[str, Any], dropout: Dropout | None = None, remat: bool = False
    ) -> tf.Tensor:
        """Computes log p(x), one number per image.

        Args:
          x: noisy images, float32 [B, H, W, C].
          prepared: the result of `prepare` for the noise levels and classes of the images.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          log p(x) in nats, float32 [B].
        """
        angle = prepared['angle']
        w = self.whitened(x, angle)
        e = self.network(w, prepared['network'], dropout=dropout, remat=remat)
        return self._standard_normal(w) - self.log_volume(angle) - self.std / tf.tan(angle) * e

    def _c_in(self, angle: tf.Tensor) -> tf.Tensor:
        return tf.math.rsqrt(tf.tan(angle) ** 2 + self.std**2)

    def _standard_normal(self, w: tf.Tensor) -> tf.Tensor:
        """Returns log N(w; 0, I), [B]."""
        return -tf.reduce_sum(w**2, axis=[1, 2, 3]) / 2 - self._dimensions / 2 * math.log(2 * math.pi)


def _at(values: tf.Tensor) -> tf.Tensor:
    """Reshapes one number per image, [B], to [B, 1, 1, 1]."""
    return values[:, None, None, None]
