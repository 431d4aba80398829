"""Layers that prepare their weights once and use them many times.

`prepare` turns the variables of a layer into tensors: spectrally normalised, cast to the compute type. `call`
takes the input and these tensors. So a Langevin chain of K steps normalises the weights once, and the energy
stays the same while the chain runs.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from drl_tf.core.noise import Dropout

_TINY = 1e-10
ACTIVATIONS = {
    'lrelu': lambda x: tf.nn.leaky_relu(x, alpha=0.2),
    'swish': tf.nn.silu,
    'relu': tf.nn.relu,
    'identity': tf.identity,
}


def initializer(scale: float = 1.0) -> Any:
    """Returns the Keras initializer of kernels, `VarianceScaling(scale, 'fan_avg', 'uniform')`.

    Scale 0 becomes 1e-10: spectral normalisation divides a kernel by its norm, which must not be 0.

    Examples:
      >>> kernel = initializer(scale=0.0)([3, 3, 8, 8])
      >>> bool(0 < tf.reduce_max(kernel) < 1e-4)
      True
    """
    return keras.initializers.VarianceScaling(scale or _TINY, mode='fan_avg', distribution='uniform')


def _add_weight(
    layer: keras.layers.Layer, name: str, shape: Sequence[int], start: Any, trainable: bool = True
) -> Any:
    """Adds a float32 variable, initialised by `start`, to a layer; all replicas assign it the same values."""
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=start,
        trainable=trainable,
        autocast=False,
        aggregation='only_first_replica',
    )


class Affine(keras.layers.Layer):
    """Convolution or dense layer with optional spectral normalisation.

    Spectral normalisation divides the kernel W by an estimate sigma of its largest singular value. From a
    stored row vector u, one power iteration computes v = l2(u W^T), u' = l2(v W) and sigma = v W u'^T, where
    l2 scales to length 1. u and v count as constants in gradients. With `starts_at_zero`, the kernel is
    W min(sigma, 1) / sigma, which stays small as long as W is small.

    Args:
      units: number of output channels.
      kernel_size: height and width of the convolution in pixels; None for a dense layer.
      stride: stride of the convolution in pixels.
      spectral_norm: whether to normalise the kernel.
      starts_at_zero: whether the kernel starts near zero (scale 1e-10) and may stay small.
      bias: whether to add a bias.
      gain: whether to multiply each output channel by a learned factor that starts at 1.

    Examples:
      >>> layer = Affine(units=4)
      >>> layer.build([None, 3])
      >>> layer(tf.ones([2, 3]), layer.prepare()).shape
      TensorShape([2, 4])
    """

    def __init__(
        self,
        units: int,
        kernel_size: int | None = None,
        stride: int = 1,
        spectral_norm: bool = True,
        starts_at_zero: bool = False,
        bias: bool = True,
        gain: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.kernel_size = kernel_size
        self.stride = stride
        self.spectral_norm = spectral_norm
        self.starts_at_zero = starts_at_zero
        self.has_bias = bias
        self.has_gain = gain

    def build(self, input_shape: Any) -> None:
        window = (self.kernel_size, self.kernel_size) if self.kernel_size else ()
        start = initializer(0.0 if self.starts_at_zero else 1.0)
        self.kernel = _add_weight(self, 'kernel', (*window, input_shape[-1], self.units), start)
        self.bias = _add_weight(self, 'bias', (self.units,), 'zeros') if self.has_bias else None
        self.gain = _add_weight(self, 'gain', (self.units,), 'ones') if self.has_gain else None
        if self.spectral_norm:
            start = keras.initializers.TruncatedNormal(stddev=0.02)
            self.u = _add_weight(self, 'u', (1, self.units), start, trainable=False)

    def power_iteration(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a power iteration from the stored u; returns singular vectors v [1, in] and u [1, units]."""
        matrix = tf.reshape(self.kernel, [-1, self.units])
        v = tf.math.l2_normalize(tf.matmul(self.u, matrix, transpose_b=True))
        return tf.stop_gradient(v), tf.stop_gradient(tf.math.l2_normalize(v @ matrix))

    def prepare(self) -> list[tf.Tensor | None]:
        """Returns [kernel, bias, gain], to pass to `call` as `prepared`, with a normalised kernel.

        Bias and gain are None if the layer has none. The dtype is the compute dtype of the layer.
        """
        kernel = tf.convert_to_tensor(self.kernel)
        if self.spectral_norm:
            v, u = self.power_iteration()
            sigma = tf.squeeze(tf.matmul(v @ tf.reshape(kernel, [-1, self.units]), u, transpose_b=True))
            if self.starts_at_zero:
                sigma += 1e-6
                kernel *= tf.minimum(sigma, 1.0)
            kernel /= sigma
        return [
            None if tensor is None else tf.cast(tensor, self.compute_dtype)
            for tensor in (kernel, self.bias, self.gain)
        ]

    def call(self, x: tf.Tensor, prepared: list[tf.Tensor | None]) -> tf.Tensor:
        kernel, bias, gain = prepared
        y = tf.nn.conv2d(x, kernel, self.stride, 'SAME') if self.kernel_size else tf.tensordot(x, kernel, 1)
        if bias is not None:
            y += bias
        if gain is not None:
            y *= gain
        return y


class SpectralLayers(keras.layers.Layer):
    """Base class of networks with `Affine` layers: updates the vectors u that spectral normalisation stores.

    Examples:
      >>> network = SpectralLayers()
      >>> network.dense = Affine(units=4)
      >>> network.normalised_layers() == [network.dense]
      True
    """

    def normalised_layers(self) -> list[Affine]:
        """Returns the `Affine` layers with spectral normalisation, at any depth of the network."""
        return [
            layer for layer in self._flatten_layers() if isinstance(layer, Affine) and layer.spectral_norm
        ]

    def update_u(self) -> None:
        """Runs one power iteration in every layer with spectral normalisation, and stores the new u."""
        for layer in self.normalised_layers():
            layer.u.assign(layer.power_iteration()[1])

    @tf.function(autograph=False)
    def converge_u(self, tolerance: float = 1e-6, max_iterations: int = 1000) -> None:
        """Runs power iterations in each layer until u moves by `tolerance` or less, at most `max_iterations`.

        Call this before you use averaged weights: the average of u does not fit the averaged kernels.
        """
        for layer in self.normalised_layers():

            def change(layer: Affine = layer) -> tf.Tensor:
                before = tf.identity(layer.u.value)
                layer.u.assign(layer.power_iteration()[1])
                return tf.reduce_max(tf.abs(layer.u.value - before))

            tf.while_loop(
                lambda last: last > tolerance,
                lambda _, change=change: [change()],
                [1.0],
                maximum_iterations=max_iterations,
            )

    @contextlib.contextmanager
    def converged(self) -> Iterator[None]:
        """Context manager: fits the vectors u to the kernels, as `converge_u` does; restores u on exit."""
        layers = self.normalised_layers()
        before = [tf.identity(layer.u.value) for layer in layers]
        self.converge_u()
        try:
            yield
        finally:
            for layer, u in zip(layers, before, strict=True):
                layer.u.assign(u)


class Normalisation(keras.layers.Layer):
    """Layer that normalises to mean 0 and variance 1, then applies a learned scale and offset per channel.

    Args:
      kind: which activations share a mean and a variance: 'group' (a group of channels of one image; 32
        groups), 'instance' (one channel of one image) or 'batch' (one channel of all images).

    Examples:
      >>> bool(tf.reduce_all(Normalisation('instance')(tf.ones([2, 4, 4, 8])) == 0))
      True
    """

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.epsilon = 1e-6 if kind == 'group' else 1e-3

    def build(self, input_shape: Any) -> None:
        self.scale = _add_weight(self, 'scale', (input_shape[-1],), 'ones')
        self.offset = _add_weight(self, 'offset', (input_shape[-1],), 'zeros')

    def call(self, x: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(x)
        h = tf.cast(x, tf.float32)
        if self.kind == 'batch':
            mean, variance = tf.nn.moments(h, [0, 1, 2], keepdims=True)
        else:
            groups = 32 if self.kind == 'group' else x.shape[-1]
            h = tf.reshape(h, [shape[0], shape[1], shape[2], groups, -1])
            mean, variance = tf.nn.moments(h, [1, 2, 4], keepdims=True)
        h = tf.reshape((h - mean) * tf.math.rsqrt(variance + self.epsilon), shape)
        return tf.cast(h * self.scale + self.offset, self.compute_dtype)


def normalisation(kind: str, **kwargs: Any) -> keras.layers.Layer:
    """Returns a `Normalisation` layer, or the identity layer for kind 'none'.

    Args:
      kind: 'none', 'group', 'instance' or 'batch'.
      **kwargs: keyword arguments of a Keras layer, such as `name`.

    Examples:
      >>> normalisation('none')(tf.ones([2])).numpy()
      array([1., 1.], dtype=float32)
    """
    return keras.layers.Identity(**kwargs) if kind == 'none' else Normalisation(kind, **kwargs)


class Downsample(keras.layers.Layer):
    """Layer that halves height and width, by 2x2 average pooling or a 3x3 convolution of stride 2.

    Args:
      convolution: True: the convolution; False: average pooling.
      spectral_norm: whether to normalise the convolution's kernel spectrally.

    Examples:
      >>> layer = Downsample(convolution=False, spectral_norm=False)
      >>> layer(tf.ones([2, 8, 8, 3]), prepared=None).shape
      TensorShape([2, 4, 4, 3])
    """

    def __init__(self, convolution: bool, spectral_norm: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convolution = convolution
        self.spectral_norm = spectral_norm

    def build(self, input_shape: Any) -> None:
        self.conv = None
        if self.convolution:
            options = {'spectral_norm': self.spectral_norm, 'dtype': self.dtype_policy}
            self.conv = Affine(input_shape[-1], 3, stride=2, name='conv', **options)
            self.conv.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, height, width, units = input_shape
        return (batch, height // 2, width // 2, units)

    def prepare(self, temb: tf.Tensor) -> list[tf.Tensor | None] | None:
        """Returns weights, to pass to `call` as `prepared`; None for average pooling. `temb` is ignored."""
        del temb
        return None if self.conv is None else self.conv.prepare()

    def call(self, x: tf.Tensor, prepared: Any, dropout: Dropout | None = None) -> tf.Tensor:
        del dropout
        if self.conv is None:
            return tf.nn.avg_pool2d(x, 2, 2, 'SAME')
        return self.conv(x, prepared)


def time_embedding(time: tf.Tensor, channels: int) -> tf.Tensor:
    """Embeds noise levels as sines and cosines, float32 [B, channels], like positions in Transformers.

    Args:
      time: the noise levels, numbers on any scale, [B].
      channels: length of each embedding, an even number of at least 4: first the sines, then the cosines.

    Examples:
      >>> time_embedding(tf.constant([0.0]), channels=4).numpy()
      array([[0., 0., 1., 1.]], dtype=float32)
    """
    half = channels // 2
    frequency = tf.exp(-tf.math.log(1e4) * tf.range(half, dtype=tf.float32) / (half - 1))
    angle = tf.cast(time, tf.float32)[:, None] * frequency
    return tf.concat([tf.sin(angle), tf.cos(angle)], axis=1)
