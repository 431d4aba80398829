"""The energy network f(y, t) (paper, appendix): residual blocks, sum over space, weighted sum over
channels.
"""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from drl_tf.core.networks.attention import Attention
from drl_tf.core.networks.layers import (
    ACTIVATIONS,
    Affine,
    Downsample,
    SpectralLayers,
    normalisation,
    time_embedding,
)
from drl_tf.core.networks.recomputation import recomputed
from drl_tf.core.noise import Dropout
from drl_tf.core.saving import SavedNetwork

_ATTENTION_SIZE = 16


class Block(keras.layers.Layer):
    """Residual block: shortcut(x) + conv2(dropout(act(norm(conv1(act(norm(x))) + Dense(act(temb)))))).

    temb is the embedding of the noise level. act is the activation function, and norm the normalisation;
    `options` chooses both. By default, conv2 starts at zero, and has a learned factor (gain) per channel.

    Args:
      options: options of the network, a `config.Network`.
      units: number of output channels.
      window: height and width of the convolutions in pixels; None: dense layers instead of convolutions.

    Examples:
      >>> from drl_tf.config.model_options import Network
      >>> block = Block(Network(channels=8), units=16)
      >>> block.build([None, 8, 8, 8])
      >>> block(tf.ones([2, 8, 8, 8]), block.prepare(temb=tf.ones([2, 32]))).shape
      TensorShape([2, 8, 8, 16])
    """

    def __init__(self, options: Any, units: int, window: int | None = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = options
        self.units = units
        self.window = window
        self.act = ACTIVATIONS[options.act]

    def build(self, input_shape: Any) -> None:
        options = self.options
        dtype = self.dtype_policy
        affine = {'spectral_norm': options.spectral_norm, 'dtype': dtype}
        self.norm1 = normalisation(options.norm, name='norm1', dtype=dtype)
        self.norm2 = normalisation(options.norm, name='norm2', dtype=dtype)
        self.conv1 = Affine(self.units, self.window, name='conv1', **affine)
        self.conv2 = Affine(
            self.units,
            self.window,
            starts_at_zero=options.zero_residual,
            gain=options.gain,
            name='conv2',
            **affine,
        )
        self.time = Affine(self.units, spectral_norm=options.spectral_norm, dtype='float32', name='time')
        self.shortcut = None
        if input_shape[-1] != self.units:
            self.shortcut = Affine(
                self.units, self.window if options.conv_shortcut else None, name='shortcut', **affine
            )
            self.shortcut.build(input_shape)
        self.norm1.build(input_shape)
        self.conv1.build(input_shape)
        self.norm2.build((*input_shape[:-1], self.units))
        self.conv2.build((*input_shape[:-1], self.units))
        self.time.build((None, 4 * options.channels))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def prepare(self, temb: tf.Tensor) -> dict[str, Any]:
        """Computes the tensors that do not depend on images, once for many calls.

        Args:
          temb: embedding of each image's noise level, float32 [B, E].

        Returns:
          A dict to pass to `call` as `prepared`. It holds the weights, with kernels that are normalised
          spectrally if the option `spectral_norm` is set, and a shift of each channel, computed from `temb`.
        """
        shift = self.time(self.act(temb), self.time.prepare())
        if self.options.time_act:
            shift = self.act(shift)
        return {
            'conv1': self.conv1.prepare(),
            'shift': tf.cast(shift[:, None, None, :], self.compute_dtype),
            'conv2': self.conv2.prepare(),
            'shortcut': None if self.shortcut is None else self.shortcut.prepare(),
        }

    def call(self, x: tf.Tensor, prepared: dict[str, Any], dropout: Dropout | None = None) -> tf.Tensor:
        h = self.conv1(self.act(self.norm1(x)), prepared['conv1']) + prepared['shift']
        h = self.act(self.norm2(h))
        if dropout is not None:
            h = dropout(h, self.options.dropout)
        h = self.conv2(h, prepared['conv2'])
        if self.shortcut is None:
            return h + x
        return h + self.shortcut(x, prepared['shortcut'])


class EnergyNetwork(SavedNetwork, SpectralLayers):
    """The network f(y, t), which maps each noisy image y at the noise level t to one number.

    The log density of y is f times a factor that depends on t, such as f / delta_t^2 in the paper, where
    delta_t is the Langevin step size. `prepare` computes all that depends only on t and the class; `call`
    takes its result and y.

    Args:
      options: options of the network, a `config.Network`.
      image_shape: (H, W, C); H and W are multiples of 2^(R - 1) for a network with R resolutions.
      num_classes: number of classes; 0 for none.
      starts_at_zero: whether f is zero before training.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'. With either, the time embedding, the final sum
        and the gradient in y are float32.

    Attributes:
      window: height and width of the convolutions in pixels; None: dense layers instead of convolutions.

    Examples:
      >>> from drl_tf.config.model_options import Network
      >>> f = EnergyNetwork(Network(channels=8, channel_mult=(1, 2)), (8, 8, 1))
      >>> prepared = f.prepare(time=tf.constant([0.0, 5.0]))
      >>> f(tf.ones([2, 8, 8, 1]), prepared).shape
      TensorShape([2])
    """

    arguments = ('options', 'image_shape', 'num_classes', 'starts_at_zero')
    window: int | None = 3

    def __init__(
        self,
        options: Any,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        starts_at_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.options = options
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.starts_at_zero = starts_at_zero
        self.act = ACTIVATIONS[options.act]
        self.final_act = ACTIVATIONS[options.final_act]
        self.build((None, *image_shape))

    def build(self, input_shape: Any) -> None:
        options = self.options
        ch = options.channels
        time = {'spectral_norm': options.spectral_norm, 'dtype': 'float32'}
        self.time1 = Affine(4 * ch, name='time1', **time)
        self.time2 = Affine(4 * ch, name='time2', **time)
        self.time_out = Affine(
            ch * options.channel_mult[-1],
            spectral_norm=False,
            bias=options.output_bias,
            dtype='float32',
            name='time_out',
        )
        self.conv_in = Affine(
            ch, self.window, spectral_norm=options.spectral_norm, dtype=self.dtype_policy, name='conv_in'
        )
        self.time1.build((None, ch))
        self.time2.build((None, 4 * ch))
        self.time_out.build((None, 4 * ch))
        if self.starts_at_zero:
            self.time_out.kernel.assign(tf.zeros_like(self.time_out.kernel))
        self.conv_in.build(input_shape)
        if self.num_classes:
            self.label = Affine(4 * ch, name='label', **time)
            self.label.build((None, self.num_classes + 1))
        self.stages = []
        shape = (*input_shape[:-1], ch)
        for stage in self._make_stages(input_shape[1]):
            stage.build(shape)
            shape = stage.compute_output_shape(shape)
            self.stages.append(stage)

    def _make_stages(self, size: int) -> Iterator[Any]:
        """Yields the stages in order: blocks, attention and downsampling.

        Each stage has methods `prepare(temb)` and `call(x, prepared, dropout)`.
        """
        options = self.options
        dtype = self.dtype_policy
        for resolution, mult in enumerate(options.channel_mult):
            if resolution > 0:
                yield Downsample(
                    options.conv_downsample,
                    options.spectral_norm,
                    dtype=dtype,
                    name=f'downsample{resolution}',
                )
            for block in range(options.num_res_blocks):
                yield Block(
                    options,
                    options.channels * mult,
                    self.window,
                    dtype=dtype,
                    name=f'block{resolution}_{block}',
                )
                if options.attention and size >> resolution == _ATTENTION_SIZE:
                    yield Attention(options.norm, dtype=dtype, name=f'attention{resolution}_{block}')

    def prepare(self, time: tf.Tensor, labels: tf.Tensor | None = None) -> dict[str, Any]:
        """Computes the tensors that do not depend on y, once for many calls.

        Args:
          time: noise level of each image as the network takes it, such as an entry of `Schedule.time`,
            float32 [B].
          labels: class + 1 of each image, or 0 for no class, int32 [B]. None: no image has a class.

        Returns:
          A dict to pass to `call` as `prepared`. It holds the weights, with kernels that are normalised
          spectrally if the option `spectral_norm` is set, and what the network computes from only
          `time` and `labels`.
        """
        temb = self.time1(time_embedding(time, self.options.channels), self.time1.prepare())
        temb = self.time2(self.act(temb), self.time2.prepare())
        if self.num_classes:
            if labels is None:
                labels = tf.zeros(tf.shape(time)[:1], tf.int32)
            temb += self.label(tf.one_hot(labels, self.num_classes + 1), self.label.prepare())
        return {
            'conv_in': self.conv_in.prepare(),
            'stages': [stage.prepare(temb) for stage in self.stages],
            'weight': self.time_out(self.act(temb), self.time_out.prepare()),
        }

    def call(
        self,
        y: tf.Tensor,
        prepared: dict[str, Any],
        dropout: Dropout | None = None,
        remat: bool = False,
    ) -> tf.Tensor:
        """Computes f(y, t), one number per image.

        Args:
          y: noisy images, float32 [B, H, W, C].
          prepared: the result of `prepare` for the noise levels t and the classes of the images.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          f(y, t), float32 [B].
        """
        h = self.conv_in(tf.cast(y, self.compute_dtype), prepared['conv_in'])
        for index, (stage, ready) in enumerate(zip(self.stages, prepared['stages'], strict=True)):
            run = recomputed(stage) if remat and isinstance(stage, Block) else stage
            h = run(h, ready, dropout=None if dropout is None else dropout.fold(index))
        h = tf.reduce_sum(tf.cast(self.final_act(h), tf.float32), axis=[1, 2])
        return tf.reduce_sum(h * prepared['weight'], axis=1)
