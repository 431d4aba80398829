"""The energy network for points of the plane: `EnergyNetwork` with dense layers."""

import math
from typing import Any

import tensorflow as tf

from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.noise import Dropout

_FREQUENCIES = [math.pi * 2.0**octave for octave in range(5)]
_SCALE = 0.02


class MLPNetwork(EnergyNetwork):
    """The network f(y, t) for points y of the plane, float32 [B, 1, 1, 2]: residual dense layers.

    The first layer gets the coordinates, and their sines and cosines at five wavelengths from 2 to 1/8, so
    that the network learns sharp functions too (Fourier features; Tancik et al., NeurIPS 2020).

    The output is divided by 50. So the first Langevin steps move y by about 0.01, the smallest noise of a
    schedule of 1,000 levels.

    Args:
      options: options of the network, a `config.Network`; those about convolutions have no effect.
      image_shape: (1, 1, 2).
      num_classes: number of classes; 0 for none.
      starts_at_zero: whether f is zero before training.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'.

    Examples:
      >>> from drl_tf.config.model_options import Network
      >>> f = MLPNetwork(Network(channels=8, channel_mult=(1,)), (1, 1, 2))
      >>> f(tf.ones([3, 1, 1, 2]), f.prepare(time=tf.zeros([3]))).shape
      TensorShape([3])
    """

    window = None

    def build(self, input_shape: Any) -> None:
        super().build((*input_shape[:-1], input_shape[-1] * (1 + 2 * len(_FREQUENCIES))))

    def call(
        self,
        y: tf.Tensor,
        prepared: dict[str, Any],
        dropout: Dropout | None = None,
        remat: bool = False,
    ) -> tf.Tensor:
        """Computes f(y, t), one number per point.

        Args:
          y: noisy points of the plane, float32 [B, 1, 1, 2].
          prepared: the result of `prepare` for the noise levels t and the classes of the points.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          f(y, t), float32 [B].
        """
        waves = []
        for frequency in _FREQUENCIES:
            waves.append(tf.sin(frequency * y) / math.sqrt(frequency))
            waves.append(tf.cos(frequency * y) / math.sqrt(frequency))
        return _SCALE * super().call(tf.concat([y, *waves], axis=-1), prepared, dropout, remat)
