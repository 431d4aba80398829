"""The UNet of cooperative recovery likelihood (Zhu et al., ICLR 2024, after Ho et al. 2020)."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from drl_tf.core.networks.attention import SelfAttention
from drl_tf.core.networks.layers import time_embedding
from drl_tf.core.networks.recomputation import recomputed
from drl_tf.core.noise import Dropout
from drl_tf.core.saving import SavedNetwork

_ATTENTION_SIZES = (8, 16)


def _group_norm(units: int, name: str, dtype: Any) -> keras.layers.Layer:
    return keras.layers.GroupNormalization(math.gcd(32, units), epsilon=1e-5, name=name, dtype=dtype)


def _conv(units: int, size: int, name: str, dtype: Any, **kwargs: Any) -> keras.layers.Layer:
    return keras.layers.Conv2D(units, size, padding='same', name=name, dtype=dtype, **kwargs)


class ResidualBlock(keras.layers.Layer):
    """Residual block: shortcut(x) + conv2(dropout(silu((1 + scale) * norm(conv1(silu(norm(x)))) + shift))).

    Scale and shift, one number each per channel, are computed from the time embedding.

    Args:
      inputs: number of input channels.
      units: number of output channels.
      dropout: share of activations dropped in training, 0 to 1.
      attention: whether a self-attention layer follows the block.

    Examples:
      >>> block = ResidualBlock(inputs=8, units=16, dropout=0.0, attention=False)
      >>> block.build([None, 8, 8, 8], [None, 32])
      >>> block(tf.ones([2, 8, 8, 8]), temb=tf.ones([2, 32])).shape
      TensorShape([2, 8, 8, 16])
    """

    def __init__(self, inputs: int, units: int, dropout: float, attention: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.width = inputs
        self.dropout = dropout
        self.norm1 = _group_norm(inputs, 'norm1', dtype)
        self.norm2 = _group_norm(units, 'norm2', dtype)
        self.conv1 = _conv(units, 3, 'conv1', dtype)
        self.conv2 = _conv(units, 3, 'conv2', dtype, kernel_initializer='zeros')
        self.time = keras.layers.Dense(2 * units, name='time', dtype=dtype)
        self.shortcut = None if inputs == units else _conv(units, 1, 'shortcut', dtype)
        self.attention = SelfAttention(units, name='attention', dtype=dtype) if attention else None

    def build(self, input_shape: Any, temb_shape: Any) -> None:
        self.time.build(temb_shape)
        for layer in (self.norm1, self.conv1, self.shortcut):
            if layer is not None:
                layer.build(input_shape)
        for layer in (self.norm2, self.conv2, self.attention):
            if layer is not None:
                layer.build(self.conv1.compute_output_shape(input_shape))

    def call(self, x: tf.Tensor, temb: tf.Tensor, dropout: Dropout | None = None) -> tf.Tensor:
        scale, shift = tf.split(self.time(tf.nn.silu(temb))[:, None, None, :], 2, axis=-1)
        h = self.conv1(tf.nn.silu(self.norm1(x)))
        h = tf.nn.silu(self.norm2(h) * (1 + scale) + shift)
        if dropout is not None:
            h = dropout(h, self.dropout)
        h = self.conv2(h) + (x if self.shortcut is None else self.shortcut(x))
        return h if self.attention is None else self.attention(h)


@dataclasses.dataclass(frozen=True)
class Size:
    """Widths, depth and other size options of a `UNet`.

    Attributes:
      channels: number of channels at the first resolution, that of the full image.
      mult: factor of `channels` at each resolution, from the full image down; each resolution halves height
        and width.
      blocks: number of residual blocks at each resolution.
      attention: whether self-attention follows each block at resolutions of 8 and 16 pixels.
      dropout: share of activations dropped in training, 0 to 1.

    Examples:
      >>> size = Size(channels=8, mult=(1, 2), blocks=1, attention=False, dropout=0.0)
      >>> [size.channels * factor for factor in size.mult]
      [8, 16]
    """

    channels: int
    mult: tuple[int, ...]
    blocks: int
    attention: bool
    dropout: float


class UNet(SavedNetwork, keras.layers.Layer):
    """A UNet: maps a noisy image and its noise level to an image of the same shape, zero before training.

    Args:
      size: widths and depth of the network, a `Size`.
      image_shape: (H, W, C); H and W are multiples of 2^(R - 1) for a network with R resolutions.
      num_classes: number of classes; 0 for none.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'; the result is float32.

    Examples:
      >>> size = Size(channels=8, mult=(1, 2), blocks=1, attention=False, dropout=0.0)
      >>> UNet(size, (8, 8, 1))(tf.ones([2, 8, 8, 1]), time=tf.zeros([2]))[0, 0, 0].numpy()
      array([0.], dtype=float32)
    """

    arguments = ('size', 'image_shape', 'num_classes')

    def __init__(
        self, size: Size, image_shape: tuple[int, int, int], num_classes: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.image_shape = image_shape
        self.num_classes = num_classes
        units = size.channels
        self.time1 = keras.layers.Dense(4 * units, name='time1', dtype='float32')
        self.time2 = keras.layers.Dense(4 * units, name='time2', dtype='float32')
        self.label = keras.layers.Dense(4 * units, name='label', dtype='float32') if num_classes else None
        self.conv_in = _conv(units, 3, 'conv_in', self.dtype_policy)
        widths = [units, *self._add_down(units)]
        self.middle = [
            self._block(f'middle_{index}', widths[-1], widths[-1], self._pixels(-1)) for index in range(2)
        ]
        self._add_up(widths)
        self.norm_out = _group_norm(units * size.mult[0], 'norm_out', self.dtype_policy)
        self.conv_out = _conv(image_shape[-1], 3, 'conv_out', self.dtype_policy, kernel_initializer='zeros')
        self.build([None, *image_shape])

    def build(self, input_shape: Any) -> None:
        channels = self.size.channels
        temb_shape = [None, self.time2.units]
        self.time1.build([None, channels])
        self.time2.build(temb_shape)
        if self.label:
            self.label.build([None, self.num_classes + 1])
        self.conv_in.build(input_shape)
        for stage in (*self.down, *self.middle, *self.up):
            if isinstance(stage, ResidualBlock):
                stage.build([None, None, None, stage.width], temb_shape)
            else:
                stage.build([None, None, None, stage.filters])
        for layer in (self.norm_out, self.conv_out):
            layer.build([None, None, None, channels * self.size.mult[0]])

    def _pixels(self, resolution: int) -> int:
        """Returns the height of the image at resolution number `resolution`; -1 is the last resolution."""
        return self.image_shape[0] >> (resolution % len(self.size.mult))

    def _block(self, name: str, inputs: int, units: int, pixels: int) -> ResidualBlock:
        attention = self.size.attention and pixels in _ATTENTION_SIZES
        return ResidualBlock(inputs, units, self.size.dropout, attention, name=name, dtype=self.dtype_policy)

    def _add_down(self, width: int) -> Iterator[int]:
        """Adds the stages on the way down; yields the number of channels after each stage."""
        self.down: list[Any] = []
        for index, mult in enumerate(self.size.mult):
            if index > 0:
                self.down.append(_conv(width, 3, f'downsample{index}', self.dtype_policy, strides=2))
                yield width
            for block in range(self.size.blocks):
                units = mult * self.size.channels
                self.down.append(self._block(f'down{index}_{block}', width, units, self._pixels(index)))
                width = units
                yield width

    def _add_up(self, widths: list[int]) -> None:
        """Adds the stages on the way up, given the number of channels of each skip connection."""
        self.up: list[Any] = []
        skips = list(widths)
        width = skips[-1]
        for index, mult in reversed(list(enumerate(self.size.mult))):
            units = mult * self.size.channels
            for block in range(self.size.blocks + 1):
                inputs = width + skips.pop()
                self.up.append(self._block(f'up{index}_{block}', inputs, units, self._pixels(index)))
                width = units
            if index > 0:
                self.up.append(_conv(width, 3, f'upsample{index}', self.dtype_policy))

    def call(
        self,
        x: tf.Tensor,
        time: tf.Tensor,
        labels: tf.Tensor | None = None,
        dropout: Dropout | None = None,
        remat: bool = False,
    ) -> tf.Tensor:
        """Maps noisy images to images of the same shape.

        Args:
          x: noisy images, float32 [B, H, W, C].
          time: noise level of each image as the network takes it, such as an entry of `Schedule.time`,
            float32 [B].
          labels: class + 1 of each image, or 0 for no class, int32 [B]. None: no image has a class.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          Images, float32 [B, H, W, C].
        """
        numbers = itertools.count()

        def run(block: ResidualBlock, h: tf.Tensor) -> tf.Tensor:
            """Runs a residual block; each block draws its own dropout mask."""
            layer = recomputed(block) if remat else block
            return layer(h, temb, dropout=None if dropout is None else dropout.fold(next(numbers)))

        temb = self._embedding(time, labels)
        h = self.conv_in(tf.cast(x, self.compute_dtype))
        skips = [h]
        for stage in self.down:
            h = run(stage, h) if isinstance(stage, ResidualBlock) else stage(h)
            skips.append(h)
        for stage in self.middle:
            h = run(stage, h)
        for stage in self.up:
            if isinstance(stage, ResidualBlock):
                h = run(stage, tf.concat([h, skips.pop()], axis=-1))
            else:
                h = stage(tf.repeat(tf.repeat(h, 2, axis=1), 2, axis=2))
        return tf.cast(self.conv_out(tf.nn.silu(self.norm_out(h))), tf.float32)

    def _embedding(self, time: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Returns the sum of the embeddings of time and class, [B, 4 channels], in the compute type."""
        temb = self.time2(tf.nn.silu(self.time1(time_embedding(time, self.size.channels))))
        if self.label is not None:
            if labels is None:
                labels = tf.zeros(tf.shape(time)[:1], tf.int32)
            temb += self.label(tf.one_hot(labels, self.num_classes + 1))
        return tf.cast(temb, self.compute_dtype)


class Initializer(UNet):
    """The network g(x, t) = x + UNet(x, t), which proposes where a Langevin chain starts.

    x is a noisy image, and t its noise level. Before training, g(x, t) = x.

    Args:
      size: widths and depth of the network, a `Size`.
      image_shape: (H, W, C); H and W are multiples of 2^(R - 1) for a network with R resolutions.
      num_classes: number of classes; 0 for none.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'; the result is float32.

    Examples:
      >>> size = Size(channels=8, mult=(1, 2), blocks=1, attention=False, dropout=0.0)
      >>> Initializer(size, (8, 8, 1))(tf.ones([2, 8, 8, 1]), time=tf.zeros([2]))[0, 0, 0].numpy()
      array([1.], dtype=float32)
    """

    def call(
        self,
        x: tf.Tensor,
        time: tf.Tensor,
        labels: tf.Tensor | None = None,
        dropout: Dropout | None = None,
        remat: bool = False,
    ) -> tf.Tensor:
        """Computes g(x, t), the proposal for the start of a chain.

        Args:
          x: noisy images, float32 [B, H, W, C].
          time: noise level of each image as the networks take it, an entry of `Schedule.time`, float32 [B].
          labels: class + 1 of each image, or 0 for no class, int32 [B]. None: no image has a class.
          dropout: `noise.Dropout` for training; None for no dropout.
          remat: if True, the gradient recomputes activations instead of storing them, which saves memory.

        Returns:
          g(x, t), float32 [B, H, W, C].
        """
        return x + super().call(x, time, labels, dropout, remat)
