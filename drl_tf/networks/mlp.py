"""The energy network of points: what `energy` builds of convolutions, of dense layers."""
import math, os
import tensorflow as tf
from drl_tf.networks.energy import EnergyNetwork
FREQ = int(os.environ.get('FREQ', '5'))
FACTOR = float(os.environ.get('FACTOR', '0.1'))


class MLPNetwork(EnergyNetwork):
    window = None

    def build(self, input_shape):
        super().build((*input_shape[:-1], input_shape[-1] * (1 + 2 * FREQ)))

    def call(self, y, prepared, dropout_seed=None):
        if FREQ:
            freq = [math.pi * 2.0**k for k in range(FREQ)]
            y = tf.concat([y] + [g(f * y) / f for f in freq for g in (tf.sin, tf.cos)], -1)
        return FACTOR * super().call(y, prepared, dropout_seed)
