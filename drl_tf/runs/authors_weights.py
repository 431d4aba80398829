"""Loads a checkpoint of the original code of diffusion recovery likelihood into a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drl_tf.core.networks.attention import Attention
from drl_tf.core.networks.energy import Block
from drl_tf.core.networks.layers import Downsample, Normalisation
from drl_tf.runs.authors_checkpoint import Variables

if TYPE_CHECKING:
    import keras

    from drl_tf.core.networks.energy import EnergyNetwork


def load_weights(network: EnergyNetwork, prefix: str, weights: str = 'model_ema') -> int | None:
    """Loads weights, which the original code of diffusion recovery likelihood saved, into a network.

    Args:
      network: the network to fill; its architecture must be that of the checkpoint.
      prefix: path of the checkpoint's files without their suffix; the suffix `.index` is allowed.
      weights: which weights to load: 'model_ema' (moving averages) or 'model' (as trained).

    Returns:
      The number of training iterations that the checkpoint records; None if it records none.

    Raises:
      UserError: the checkpoint is missing, damaged, or does not fit the network.
    """
    variables = Variables(prefix, weights)
    mine = {
        f'{path}/{key}': variable
        for path, layer in _layer_paths(network)
        for variable, key in _variable_keys(layer)
    }
    variables.compare({name: tuple(variable.shape) for name, variable in mine.items()})
    variables.verify()
    for name, variable in mine.items():
        variable.assign(variables.read(name))
    return variables.iteration()


def _variable_keys(layer: keras.layers.Layer) -> list[tuple[keras.Variable, str]]:
    """Returns pairs (variable of a layer, name of the variable in the authors' checkpoints)."""
    if isinstance(layer, Normalisation):
        return [(layer.scale, 'gamma'), (layer.offset, 'beta')]
    kernel, inner = ('w', 'layer/') if layer.spectral_norm else ('W', '')
    pairs = [(layer.kernel, kernel), (layer.bias, inner + 'b'), (layer.gain, inner + 'g')]
    if layer.spectral_norm:
        pairs.append((layer.u, 'sn_u'))
    return [pair for pair in pairs if pair[0] is not None]


def _layer_paths(network: EnergyNetwork) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields (path in the checkpoint, layer) for every layer of the network that has variables."""
    yield 'conv2d_in/conv', network.conv_in
    for index, layer in enumerate((network.time1, network.time2, network.time_out)):
        yield f'temb_dense_{index}/dense', layer
    resolution = block = attention = 0
    for stage in network.stages:
        if isinstance(stage, Block):
            yield from _of_block(f'res_levels/{resolution}/{block}', stage)
            block += 1
        elif isinstance(stage, Attention):
            yield from _of_attention(f'attn_s/16/{attention}', stage)
            attention += 1
        elif isinstance(stage, Downsample):
            if stage.conv:
                yield f'downsample_s/{resolution}/conv2d/conv', stage.conv
            resolution += 1
            block = 0


def _of_block(root: str, block: Block) -> Iterator[tuple[str, keras.layers.Layer]]:
    for name, norm in (('normalize_1', block.norm1), ('normalize_2', block.norm2)):
        if isinstance(norm, Normalisation):
            yield f'{root}/{name}/norm', norm
    yield f'{root}/conv2d_1/conv', block.conv1
    yield f'{root}/conv2d_2/conv', block.conv2
    yield f'{root}/dense/dense', block.time
    if block.shortcut:
        name = 'conv2d_shortcut/conv' if block.shortcut.kernel_size else 'nin_shortcut/nin'
        yield f'{root}/{name}', block.shortcut


def _of_attention(root: str, attention: Attention) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(attention.norm, Normalisation):
        yield f'{root}/normalize/norm', attention.norm
    for name, layer in zip(('nin_q', 'nin_k', 'nin_v', 'nin_proj_out'), attention.affines(), strict=True):
        yield f'{root}/{name}/nin', layer
