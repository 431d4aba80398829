"""Builds the energy network of a configuration."""

from typing import Any

from drl_tf.core.exact import ExactEnergy
from drl_tf.core.networks.energy import EnergyNetwork
from drl_tf.core.networks.mlp import MLPNetwork
from drl_tf.core.networks.unet import Initializer, Size, UNet
from drl_tf.core.networks.unet_energy import UNetEnergy
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.core.saving import register

register(EnergyNetwork, MLPNetwork, UNet, UNetEnergy, Initializer, PreconditionedEnergy, ExactEnergy)


def energy_network(config: Any, name: str, dtype: str) -> Any:
    """Builds the energy network that the option `energy` chooses.

    Args:
      config: the configuration of the model, a `config.Config`. `energy` is 'paper' (`EnergyNetwork` or
        `MLPNetwork`), 'preconditioned' (`PreconditionedEnergy`) or 'exact' (`ExactEnergy`).
      name: name of the network in Keras.
      dtype: Keras dtype policy, 'float32' or 'mixed_bfloat16'.

    Returns:
      The network, a Keras layer.
    """
    data = config.data
    if config.network.energy == 'exact':
        return ExactEnergy(config.image_shape, data.exact_images, name=name)
    if config.network.energy == 'paper':
        return _inner(config, name, dtype)
    return PreconditionedEnergy(
        _inner(config, f'{name}_e', dtype, starts_at_zero=True),
        config.image_shape,
        data.data_mean or (0.0,),
        data.data_std or 0.5,
        dtype=dtype,
        name=name,
    )


def _inner(config: Any, name: str, dtype: str, starts_at_zero: bool = False) -> Any:
    """Builds the network f, or e of a preconditioned energy, which must be zero before training."""
    options = config.network
    inputs = (config.image_shape, config.data.num_classes)
    if options.network == 'unet':
        size = Size(
            channels=options.channels,
            mult=options.channel_mult,
            blocks=options.num_res_blocks,
            attention=options.attention,
            dropout=options.dropout,
        )
        return UNetEnergy(size, *inputs, dtype=dtype, name=name)
    network_class = MLPNetwork if config.planar else EnergyNetwork
    return network_class(options, *inputs, starts_at_zero=starts_at_zero, dtype=dtype, name=name)
