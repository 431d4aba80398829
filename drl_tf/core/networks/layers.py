"""Layers whose weights are made ready once and then used many times.

A layer has two halves: `prepare` turns its variables into the tensors that it computes with (spectrally
normalised, cast to the compute type), and `call` takes these tensors with the input. So a Langevin chain of K
steps normalises once, and the energy cannot change while the chain runs.
"""

import keras
import tensorflow as tf

_TINY = 1e-10
ACTIVATIONS = {
    'lrelu': lambda x: tf.nn.leaky_relu(x, alpha=0.2),
    'swish': tf.nn.silu,
    'relu': tf.nn.relu,
    'identity': tf.identity,
}


def initializer(scale=1.0):
    """Variance scaling, fan_avg, uniform; scale 0 means almost 0, so that the direction of the kernel is
    defined."""
    return keras.initializers.VarianceScaling(scale or _TINY, mode='fan_avg', distribution='uniform')


def _add_weight(layer, name, shape, start, trainable=True):
    """A float32 variable that every replica updates alike."""
    return layer.add_weight(
        name=name,
        shape=shape,
        initializer=start,
        trainable=trainable,
        autocast=False,
        aggregation='only_first_replica',
    )


class Affine(keras.layers.Layer):
    """Convolution or dense layer with optional spectral normalisation and gain.

    The kernel is W / sigma, where sigma = v W u'^T after one power iteration from the stored u (v = l2(u
    W^T), u' = l2(v W)); gradients flow through W alone. With `starts_at_zero` it is W / (sigma + 1e-6) *
    min(sigma + 1e-6, 1), which may be zero.
    """

    def __init__(
        self,
        units,
        kernel_size=None,
        stride=1,
        spectral_norm=True,
        starts_at_zero=False,
        bias=True,
        gain=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units, self.kernel_size, self.stride = units, kernel_size, stride
        self.spectral_norm, self.starts_at_zero = spectral_norm, starts_at_zero
        self.has_bias, self.has_gain = bias, gain

    def build(self, input_shape):
        window = (self.kernel_size, self.kernel_size) if self.kernel_size else ()
        start = initializer(0.0 if self.starts_at_zero else 1.0)
        self.kernel = _add_weight(self, 'kernel', (*window, input_shape[-1], self.units), start)
        self.bias = _add_weight(self, 'bias', (self.units,), 'zeros') if self.has_bias else None
        self.gain = _add_weight(self, 'gain', (self.units,), 'ones') if self.has_gain else None
        if self.spectral_norm:
            self.u = _add_weight(
                self, 'u', (1, self.units), keras.initializers.TruncatedNormal(stddev=0.02), trainable=False
            )

    def power_iteration(self):
        """One power iteration from the stored u; returns v [1, in] and u' [1, out]."""
        matrix = tf.reshape(self.kernel, [-1, self.units])
        v = tf.math.l2_normalize(tf.matmul(self.u, matrix, transpose_b=True))
        return tf.stop_gradient(v), tf.stop_gradient(tf.math.l2_normalize(v @ matrix))

    def prepare(self):
        """The tensors to compute with: kernel, bias and gain (None where there is none)."""
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

    def call(self, x, prepared):
        kernel, bias, gain = prepared
        y = tf.nn.conv2d(x, kernel, self.stride, 'SAME') if self.kernel_size else tf.tensordot(x, kernel, 1)
        y = y if bias is None else y + bias
        return y if gain is None else y * gain


class SpectralLayers(keras.layers.Layer):
    """A network in which some `Affine` layers are spectrally normalised."""

    def normalised_layers(self):
        """The layers that hold a u."""
        return [
            layer for layer in self._flatten_layers() if isinstance(layer, Affine) and layer.spectral_norm
        ]

    def update_u(self):
        """Stores u' after one power iteration in every spectrally normalised layer."""
        for layer in self.normalised_layers():
            layer.u.assign(layer.power_iteration()[1])

    @tf.function(autograph=False)
    def converge_u(self, tolerance=1e-6, max_iterations=1000):
        """Iterates every u to convergence, as averaged weights need before use."""
        for layer in self.normalised_layers():

            def change(layer=layer):
                before = tf.identity(layer.u.value)
                layer.u.assign(layer.power_iteration()[1])
                return tf.reduce_max(tf.abs(layer.u.value - before))

            tf.while_loop(
                lambda last: last > tolerance,
                lambda _, change=change: [change()],
                [1.0],
                maximum_iterations=max_iterations,
            )


class Normalisation(keras.layers.Layer):
    """Group (32 groups), instance or batch normalisation with scale and offset, always on the statistics of
    its input."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.epsilon = 1e-6 if kind == 'group' else 1e-3

    def build(self, input_shape):
        self.scale = _add_weight(self, 'scale', (input_shape[-1],), 'ones')
        self.offset = _add_weight(self, 'offset', (input_shape[-1],), 'zeros')

    def call(self, x):
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


def normalisation(kind, **kwargs):
    """A `Normalisation`, or the identity where kind is 'none'."""
    return keras.layers.Identity(**kwargs) if kind == 'none' else Normalisation(kind, **kwargs)


class Attention(keras.layers.Layer):
    """Single-head self-attention over space, x + proj(softmax(q k^T C^-0.5) v), which starts as the
    identity."""

    def __init__(self, norm, **kwargs):
        super().__init__(**kwargs)
        self.norm = normalisation(norm, name='norm', dtype=self.dtype_policy)

    def build(self, input_shape):
        units = input_shape[-1]
        options = dict(spectral_norm=False, dtype=self.dtype_policy)
        self.query, self.key, self.value = (
            Affine(units, name=name, **options) for name in ('query', 'key', 'value')
        )
        self.project = Affine(units, starts_at_zero=True, name='project', **options)
        for layer in (self.norm, *self.affines()):
            layer.build(input_shape)

    def affines(self):
        """Its dense layers, in the order of `prepare`."""
        return self.query, self.key, self.value, self.project

    def compute_output_shape(self, input_shape):
        return input_shape

    def prepare(self, temb):
        del temb
        return [layer.prepare() for layer in self.affines()]

    def call(self, x, prepared, dropout=None):
        del dropout
        _, height, width, units = x.shape
        query, key, value, project = prepared
        h = tf.reshape(self.norm(x), [-1, height * width, units])
        scores = tf.matmul(self.query(h, query), self.key(h, key), transpose_b=True) * units**-0.5
        h = tf.matmul(tf.nn.softmax(scores), self.value(h, value))
        return x + tf.reshape(self.project(h, project), tf.shape(x))


class Downsample(keras.layers.Layer):
    """Halves height and width: 2x2 average pooling, or a 3x3 convolution of stride 2."""

    def __init__(self, convolution, spectral_norm, **kwargs):
        super().__init__(**kwargs)
        self.convolution, self.spectral_norm = convolution, spectral_norm

    def build(self, input_shape):
        self.conv = None
        if self.convolution:
            self.conv = Affine(
                input_shape[-1],
                3,
                stride=2,
                spectral_norm=self.spectral_norm,
                dtype=self.dtype_policy,
                name='conv',
            )
            self.conv.build(input_shape)

    def compute_output_shape(self, input_shape):
        batch, height, width, units = input_shape
        return (batch, height // 2, width // 2, units)

    def prepare(self, temb):
        del temb
        return self.conv and self.conv.prepare()

    def call(self, x, prepared, dropout=None):
        del dropout
        return self.conv(x, prepared) if self.conv else tf.nn.avg_pool2d(x, 2, 2, 'SAME')


def recomputed(layer):
    """A layer whose gradient keeps its input alone and computes the rest again (Chen et al. 2016, arXiv
    1604.06174).

    (`tf.recompute_grad` has XLA find the two computations equal, and keep the first.)

    Args:
      layer: callable, (x, prepared, dropout) -> a tensor.

    Returns:
      The same function; it has a first derivative only.
    """

    def run(x, prepared, dropout=None):
        leaves = tf.nest.flatten(prepared)

        def compute(x, *tensors):
            given = iter(tensors)
            packed = [leaf if leaf is None else next(given) for leaf in leaves]
            return layer(x, tf.nest.pack_sequence_as(prepared, packed), dropout=dropout)

        @tf.custom_gradient
        def with_gradient(*inputs):
            def gradient(upstream, variables=()):
                again = _after(upstream, inputs)
                with tf.GradientTape() as tape:
                    tape.watch(again)
                    y = compute(*again)
                return tape.gradient(y, [again, list(variables)], upstream, unconnected_gradients='zero')

            return compute(*inputs), gradient

        return with_gradient(x, *(leaf for leaf in leaves if leaf is not None))

    return run


def _after(tensor, others):
    """The other tensors, which cannot be known before the tensor is, as no compiler finds out: min(|.|, 0) of
    it is added."""
    one = tf.reshape(tf.slice(tensor, [0] * tensor.shape.rank, [1] * tensor.shape.rank), [])
    nothing = tf.minimum(tf.abs(one), 0)
    return [other + tf.cast(nothing, other.dtype) for other in others]


def time_embedding(time, channels):
    """Sinusoids (sines, then cosines) of frequencies 1e4^(-i / (channels / 2 - 1)), float32 [B, channels]."""
    half = channels // 2
    frequency = tf.exp(-tf.math.log(1e4) * tf.range(half, dtype=tf.float32) / (half - 1))
    angle = tf.cast(time, tf.float32)[:, None] * frequency
    return tf.concat([tf.sin(angle), tf.cos(angle)], axis=1)
