"""The energy network of points: what `energy` builds of convolutions, of dense layers on waves of the
coordinates."""

import math

import tensorflow as tf

from drl_tf.core.networks.energy import EnergyNetwork

_FREQUENCIES = [math.pi * 2.0**octave for octave in range(5)]
_SCALE = 0.02


class MLPNetwork(EnergyNetwork):
    """f(y, t) of y float32 [B, 1, 1, 2], one number per point: a residual network of dense layers, no
    convolution among them.

    It takes, gives and holds what `EnergyNetwork` does; the options of convolutions do not apply. It sees the
    coordinates with their sines and cosines at five octaves, of wavelengths from 2 to 1/8, each over the root
    of its frequency: a network of coordinates alone learns what is smooth long before what is sharp (Tancik
    et al., NeurIPS 2020). What it says counts a fiftieth, so that a gradient of 1 within it is, as grad f,
    about the shift from one noise to the next of 1,000.
    """

    window = None

    def build(self, input_shape):
        super().build((*input_shape[:-1], input_shape[-1] * (1 + 2 * len(_FREQUENCIES))))

    def call(self, y, prepared, **options):
        waves = [
            wave(frequency * y) / math.sqrt(frequency)
            for frequency in _FREQUENCIES
            for wave in (tf.sin, tf.cos)
        ]
        return _SCALE * super().call(tf.concat([y, *waves], axis=-1), prepared, **options)
