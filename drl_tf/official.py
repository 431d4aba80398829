"""Reads checkpoints of the authors' TensorFlow code (object-based `tf.train.Checkpoint`)."""

import tensorflow as tf

from drl_tf.networks.energy import Block
from drl_tf.networks.layers import Attention, Downsample


def load_weights(network, prefix, weights='model_ema'):
    """Assigns a checkpoint's weights, and its stored u, to a network of the same architecture.

    Args:
      network: an `EnergyNetwork`.
      prefix: path of the checkpoint without `.index`.
      weights: 'model_ema' or 'model' (the raw ones).

    Raises:
      tf.errors.NotFoundError: there is no such checkpoint or a variable is missing in it.
      ValueError: a variable has another shape.
    """
    reader = tf.train.load_checkpoint(prefix)
    for path, layer in _layer_paths(network):
        for variable, key in zip(*_variable_keys(layer), strict=True):
            variable.assign(reader.get_tensor(f'{weights}/net/{path}/{key}/.ATTRIBUTES/VARIABLE_VALUE'))


def _variable_keys(layer):
    """An `Affine` layer's variables and their names in the authors' checkpoints."""
    kernel, inner = ('w', 'layer/') if layer.spectral_norm else ('W', '')
    pairs = [(layer.kernel, kernel), (layer.bias, inner + 'b'), (layer.gain, inner + 'g')]
    if layer.spectral_norm:
        pairs.append((layer.u, 'sn_u'))
    return zip(*[pair for pair in pairs if pair[0] is not None], strict=True)


def _layer_paths(network):
    """Yields (path in the checkpoint, `Affine` layer) for every layer of the network."""
    yield 'conv2d_in/conv', network.conv_in
    for index, layer in enumerate((network.time1, network.time2, network.time_out)):
        yield f'temb_dense_{index}/dense', layer
    resolution, block, attention = 0, 0, 0
    for stage in network.stages:
        if isinstance(stage, Block):
            root = f'res_levels/{resolution}/{block}'
            yield f'{root}/conv2d_1/conv', stage.conv1
            yield f'{root}/conv2d_2/conv', stage.conv2
            yield f'{root}/dense/dense', stage.time
            if stage.shortcut:
                kind = 'conv2d_shortcut/conv' if stage.shortcut.kernel_size else 'nin_shortcut/nin'
                yield f'{root}/{kind}', stage.shortcut
            block += 1
        elif isinstance(stage, Attention):
            names = ('nin_q', 'nin_k', 'nin_v', 'nin_proj_out')
            for name, layer in zip(names, stage.affines(), strict=True):
                yield f'attn_s/16/{attention}/{name}/nin', layer
            attention += 1
        elif isinstance(stage, Downsample):
            if stage.conv:
                yield f'downsample_s/{resolution}/conv2d/conv', stage.conv
            resolution, block = resolution + 1, 0
