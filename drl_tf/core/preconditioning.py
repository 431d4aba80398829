"""Energies that are normalised log densities, at any noise level (preconditioning: Karras et al., NeurIPS
2022).

A noise level is an angle: x = cos(angle) x_clean + sin(angle) eps, so that A = cos, S = sin and sigma = S /
A. With mu and d the mean and deviation of the data, z = x / A - mu and c_in = 1 / sqrt(sigma^2 + d^2),

    log p(x) = -|z|^2 c_in^2 / 2 - (d / sigma) e(c_in z) + D log(c_in / A) - D/2 log(2 pi).

Where the network e is zero, as before training, this is the density of Gaussian data, exactly.
"""

import math

import tensorflow as tf

from drl_tf.core.networks.layers import SpectralLayers

# A sinusoid of the networks turns about once a level where there are six: smooth, and yet tells levels apart.
_TIME_OF_LOG_SIGMA = 4.0


def time_of(angle):
    """What the networks are told of a noise level, 4 log sigma, like `angle`."""
    return _TIME_OF_LOG_SIGMA * tf.math.log(tf.tan(angle))


class PreconditionedEnergy(SpectralLayers):
    """log p(x) in nats of noisy images x, at the noise level of each.

    Args:
      network: e, called as an `energy.EnergyNetwork` is; zero before training.
      image_shape: (H, W, C).
      mean: mu, one number or one for each channel.
      std: d, a number above 0.

    Example:
      energy = PreconditionedEnergy(network, (16, 16, 1), mean=0.0, std=0.5)
      log_prob = energy(x, energy.prepare(time_of(angle)))
    """

    def __init__(self, network, image_shape, mean, std, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.network = network
        self._dimensions = math.prod(image_shape)
        self.mean = mean
        self.std = std
        self.built = True

    def whitened(self, x, angle):
        """w = c_in z of noisy images x at their noise levels, [B]: what the network e sees."""
        return _at(self._c_in(angle)) * (x / _at(tf.cos(angle)) - self.mean)

    def unwhitened(self, w, angle):
        """The noisy images x whose `whitened` is w."""
        return _at(tf.cos(angle)) * (w / _at(self._c_in(angle)) + self.mean)

    def log_volume(self, angle):
        """log |dx / dw| = D log(A / c_in), [B]."""
        return self._dimensions * tf.math.log(tf.cos(angle) / self._c_in(angle))

    def gaussian(self, x, angle):
        """log p(x) if the data were Gaussian, N(mu, d^2 I)."""
        return self._standard_normal(self.whitened(x, angle)) - self.log_volume(angle)

    def prepare(self, time, labels=None):
        """What does not depend on the images: noise levels, as `time_of` tells them, and classes, [B]."""
        return {
            'angle': tf.atan(tf.exp(time / _TIME_OF_LOG_SIGMA)),
            'network': self.network.prepare(time, labels),
        }

    def call(self, x, prepared, dropout=None, remat=False):
        """log p(x), float32 [B], of x float32 [B, H, W, C]."""
        angle = prepared['angle']
        w = self.whitened(x, angle)
        e = self.network(w, prepared['network'], dropout=dropout, remat=remat)
        return self._standard_normal(w) - self.log_volume(angle) - self.std / tf.tan(angle) * e

    def _c_in(self, angle):
        return tf.math.rsqrt(tf.tan(angle) ** 2 + self.std**2)

    def _standard_normal(self, w):
        return -tf.reduce_sum(w**2, axis=[1, 2, 3]) / 2 - self._dimensions / 2 * math.log(2 * math.pi)


def _at(values):
    """Numbers of images, [B], as [B, 1, 1, 1]."""
    return values[:, None, None, None]
