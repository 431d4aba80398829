"""The energy network of points: `EnergyNetwork` with dense layers, on sinusoids of the coordinates."""

import math
from typing import Any

import tensorflow as tf

from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.noise import Dropout

_FREQUENCIES = [math.pi * 2.0**octave for octave in range(5)]
_SCALE = 0.02


class MLPNetwork(EnergyNetwork):
    """f(y, t) of points y, float32 [B, 1, 1, 2]: a residual network of dense layers.

    For arguments and attributes see `EnergyNetwork`; the options of convolutions do not apply.

    The inputs are the coordinates, and their sines and cosines at five wavelengths from 2 to 1/8. Each wave
    is divided by the square root of its frequency. From the coordinates alone, a network learns smooth
    functions long before sharp functions (Tancik et al., NeurIPS 2020).

    The output is divided by 50: a Langevin step moves y by grad f / 2, so at first by about 0.01, which is
    the smallest noise of a schedule of 1,000 levels.

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
        """Computes f(y, t), float32 [B]; for the arguments see `EnergyNetwork.call`."""
        waves = []
        for frequency in _FREQUENCIES:
            waves.append(tf.sin(frequency * y) / math.sqrt(frequency))
            waves.append(tf.cos(frequency * y) / math.sqrt(frequency))
        return _SCALE * super().call(tf.concat([y, *waves], axis=-1), prepared, dropout, remat)
