"""Self-attention over space: `Attention` of the energy network, `SelfAttention` of the UNet."""

import math
from typing import Any

import keras
import tensorflow as tf

from drl_tf.core.networks.layers import Affine, normalisation
from drl_tf.core.noise import Dropout


class Attention(keras.layers.Layer):
    """Single-head self-attention over the pixels: x + proj(softmax(q k^T C^-0.5) v).

    q, k and v (query, key and value) are dense layers of the normalised input, and proj is a dense layer of
    their result. All have C channels, as x has. They are `Affine` layers: `prepare` computes their weights
    once for many calls. Before training, the layer returns x.

    Args:
      norm: normalisation before q, k and v: 'none', 'group', 'instance' or 'batch'.

    Examples:
      >>> layer, x = Attention('instance'), tf.ones([2, 4, 4, 8])
      >>> layer.build(x.shape)
      >>> layer(x, layer.prepare(temb=None)).shape
      TensorShape([2, 4, 4, 8])
    """

    def __init__(self, norm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = normalisation(norm, name='norm', dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        units = input_shape[-1]
        options = {'spectral_norm': False, 'dtype': self.dtype_policy}
        self.query = Affine(units, name='query', **options)
        self.key = Affine(units, name='key', **options)
        self.value = Affine(units, name='value', **options)
        self.project = Affine(units, starts_at_zero=True, name='project', **options)
        for layer in (self.norm, *self.affines()):
            layer.build(input_shape)

    def affines(self) -> tuple[Affine, ...]:
        """Returns the four dense layers, each an `Affine`: query, key, value, projection."""
        return self.query, self.key, self.value, self.project

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def prepare(self, temb: tf.Tensor) -> list[Any]:
        """Normalises and casts the weights of the dense layers, once for many calls with the same weights.

        Args:
          temb: ignored; the time embedding, which other layers use.

        Returns:
          A list of weights, to pass to `call` as `prepared`.
        """
        del temb
        return [layer.prepare() for layer in self.affines()]

    def call(self, x: tf.Tensor, prepared: list[Any], dropout: Dropout | None = None) -> tf.Tensor:
        del dropout
        _, height, width, units = x.shape
        query, key, value, project = prepared
        h = tf.reshape(self.norm(x), [-1, height * width, units])
        scores = tf.matmul(self.query(h, query), self.key(h, key), transpose_b=True) * units**-0.5
        h = tf.matmul(tf.nn.softmax(scores), self.value(h, value))
        return x + tf.reshape(self.project(h, project), tf.shape(x))


class SelfAttention(keras.layers.Layer):
    """Single-head self-attention over the pixels, made of Keras layers: x + project(softmax(q k^T C^-0.5) v).

    q, k and v (query, key and value) are dense layers of the normalised input with C channels. Before
    training, the layer returns x.

    Args:
      units: C, the number of channels of x.

    Examples:
      >>> x = tf.ones([2, 4, 4, 8])
      >>> bool(tf.reduce_all(SelfAttention(units=8)(x) == x))
      True
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.norm = keras.layers.GroupNormalization(
            math.gcd(32, units), epsilon=1e-5, name='norm', dtype=dtype
        )
        self.attention = keras.layers.Attention(dtype=dtype)
        self.inputs = keras.layers.Dense(3 * units, name='inputs', dtype=dtype)
        self.project = keras.layers.Dense(units, kernel_initializer='zeros', name='project', dtype=dtype)

    def build(self, input_shape: Any) -> None:
        for layer in (self.norm, self.inputs, self.project):
            layer.build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        height, width, units = x.shape[1:]
        inputs = tf.reshape(self.inputs(self.norm(x)), [-1, height * width, 3 * units])
        query, key, value = tf.split(inputs, 3, axis=-1)
        h = self.attention([query * units**-0.5, value, key])
        return x + tf.reshape(self.project(h), tf.shape(x))
