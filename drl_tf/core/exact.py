"""The exact log density of a noised training set: a reference, with which samplers can be tested."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.core.networks.layers import SpectralLayers
from drl_tf.core.noise import Dropout
from drl_tf.core.preconditioning import angle_of
from drl_tf.core.saving import SavedNetwork


class ExactEnergy(SavedNetwork, SpectralLayers):
    """Layer that computes log p(x) in nats, where p is the distribution of the training images plus noise.

    Each x has its own noise level, an angle in radians. With A = cos(angle), S = sin(angle) and n training
    images x_i, p is a mixture of n normal densities:

        p(x) = (1 / n) sum_i N(x; A x_i, S^2 I).

    If x has a class, the mixture holds only the images of this class. The computation is in float64; x and
    the result are float32. The layer has the methods of a `PreconditionedEnergy`, but nothing to train.

    Args:
      image_shape: (H, W, C).
      count: n, the number of training images.

    Attributes:
      images: x_i, float32 [n, H, W, C] in [-1, 1]; zeros until the method `hold` sets them.
      labels: class + 1 of each x_i, or 0 for no class, int32 [n]; `hold` sets them too.

    Examples:
      >>> from drl_tf.core.preconditioning import time_of
      >>> energy = ExactEnergy((1, 1, 1), count=2)
      >>> energy.hold(np.array([-1.0, 1.0]).reshape(2, 1, 1, 1), labels=[1, 2])
      >>> prepared = energy.prepare(time_of(tf.constant([np.pi / 4])), labels=tf.constant([2]))
      >>> energy(tf.sqrt([[[[0.5]]]]), prepared).numpy().round(3)  # -log(2 pi S^2) / 2, S^2 = 1 / 2.
      array([-0.572], dtype=float32)
    """

    arguments = ('image_shape', 'count')

    def __init__(self, image_shape: tuple[int, int, int], count: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.image_shape = image_shape
        self.count = count
        options = {'initializer': 'zeros', 'trainable': False}
        self.images = self.add_weight(shape=(count, *image_shape), name='images', dtype='float32', **options)
        self.labels = self.add_weight(shape=(count,), name='labels', dtype='int32', **options)
        self._dimensions = math.prod(image_shape)
        self.built = True

    def hold(self, images: Any, labels: Any) -> None:
        """Sets the training images that define p, and their classes.

        Args:
          images: n clean images in [-1, 1], float [n, H, W, C].
          labels: class + 1 of each image, or 0 for no class, int [n].
        """
        self.images.assign(images)
        self.labels.assign(labels)

    @property
    def mean(self) -> tf.Tensor:
        """The mean of the images, one number per channel, float32 [C]."""
        return tf.reduce_mean(self.images, axis=[0, 1, 2])

    @property
    def std(self) -> tf.Tensor:
        """The standard deviation of the images around `mean`, float32 []."""
        return tf.math.reduce_std(self.images - self.mean)

    def prepare(self, time: tf.Tensor, labels: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Computes the tensors that depend only on noise levels and classes, once for many calls.

        Args:
          time: noise level of each noisy image, 4 log tan(angle) as `preconditioning.time_of` computes it,
            [B].
          labels: class + 1 of each noisy image, or 0 for no class, int32 [B]. None: no image has a class.

        Returns:
          A dict of tensors, to pass to `call` as `prepared`.
        """
        centres = tf.cast(tf.reshape(self.images, [-1, self._dimensions]), tf.float64)
        if labels is None:
            labels = tf.zeros([1], tf.int32)
        member = (labels[:, None] == 0) | (labels[:, None] == self.labels[None])
        sizes = tf.reduce_sum(tf.cast(member, tf.float64), axis=1, keepdims=True)
        return {
            'angle': angle_of(tf.cast(time, tf.float64)),
            'centres': centres,
            'squares': tf.reduce_sum(centres**2, axis=1),
            'log_weights': tf.where(member, -tf.math.log(sizes), tf.constant(-np.inf, tf.float64)),
        }

    def call(
        self, x: tf.Tensor, prepared: dict[str, Any], dropout: Dropout | None = None, remat: bool = False
    ) -> tf.Tensor:
        """Returns log p(x) in nats, float32 [B].

        Args:
          x: noisy images, float32 [B, H, W, C].
          prepared: the result of `prepare` for the noise levels and classes of `x`.
          dropout, remat: ignored.
        """
        del dropout, remat
        A = tf.cos(prepared['angle'])[:, None]
        S = tf.sin(prepared['angle'])[:, None]
        rows = tf.cast(tf.reshape(x, [-1, self._dimensions]), tf.float64)
        products = tf.matmul(rows, prepared['centres'], transpose_b=True)
        distances = tf.reduce_sum(rows**2, axis=1, keepdims=True) - 2 * A * products
        distances += A**2 * prepared['squares']
        log_sum = tf.reduce_logsumexp(prepared['log_weights'] - distances / (2 * S**2), axis=1)
        log_normaliser = self._dimensions * (tf.math.log(S[:, 0]) + math.log(2 * math.pi) / 2)
        return tf.cast(log_sum - log_normaliser, tf.float32)
