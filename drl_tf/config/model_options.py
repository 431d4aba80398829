"""The options of a model: its networks, its noise levels and its chains. See `options` for the others."""

import dataclasses

from drl_tf.config.option_fields import option


@dataclasses.dataclass(frozen=True)
class Network:
    """Energy network"""

    energy: str = option(
        'paper',
        'F = f / delta_t^2 (paper), or a normalised log density at every noise level (preconditioned).',
        choices=('paper', 'preconditioned'),
    )
    network: str = option(
        'resnet',
        "The paper's residual network, or <w, UNet(w)> (--energy=preconditioned).",
        choices=('resnet', 'unet'),
    )
    channels: int = option(128, 'Channels at the first resolution (ch).', low=4, high=1024)
    channel_mult: tuple[int, ...] = option(
        (1, 2, 2, 2), 'Multiples of --channels; the image halves between them.', low=1, high=16
    )
    num_res_blocks: int = option(2, 'Residual blocks at each resolution (N).', low=1, high=64)
    attention: bool = option(False, 'Self-attention after each block at 16 px.')
    act: str = option(
        'lrelu', 'Activation inside the network (lrelu has slope 0.2).', choices=('lrelu', 'swish')
    )
    final_act: str = option(
        'relu', 'Activation before the sum over space.', choices=('relu', 'swish', 'identity')
    )
    norm: str = option(
        'none',
        'Normalisation in the blocks; batch ties images together.',
        choices=('none', 'batch', 'group', 'instance'),
    )
    conv_downsample: bool = option(
        False, 'Halve the image by a 3x3 convolution of stride 2 instead of 2x2 average pooling.'
    )
    conv_shortcut: bool = option(
        True, 'Shortcut of a block that changes the channels: 3x3 convolution, or 1x1 when off.'
    )
    gain: bool = option(True, "Per-channel gain after a block's second convolution.")
    spectral_norm: bool = option(True, 'Spectral normalisation of the convolutions and dense layers.')
    dropout: float = option(
        0.0,
        "Share of activations dropped before a block's second convolution while training.",
        low=0,
        high=0.9,
    )
    zero_residual: bool = option(True, "A block's second convolution starts at zero.")
    time_act: bool = option(False, "Activation after a block's dense layer of the time.")
    output_bias: bool = option(True, 'Bias of the last dense layer.')


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """Diffusion and Langevin dynamics"""

    recipe: str = option(
        't6',
        'Bundle of settings: t6 and t1k, the first paper with 6 and with 1,000 noises; cdrl, its cooperative '
        'successor; preconditioned, energies that are log densities.',
        choices=('t6', 't1k', 'cdrl', 'preconditioned'),
    )
    schedule: str = option(
        't6',
        'Noise levels: t6, t1k, the cosine log-SNR of cdrl, or those of Karras et al. (karras).',
        choices=('t6', 't1k', 'cosine', 'karras'),
    )
    num_levels: int = option(6, 'Noise levels, each with its energy (T).', low=1, high=999)
    b2: float = option(
        2e-4, 'Square of the step-size factor: delta_t^2 = b2 (S_t / S_0) s_{t+1}^2.', low=1e-8, high=1
    )
    mcmc_steps: tuple[int, ...] = option(
        (30,),
        'Langevin steps (K): one number, or one a level from 0 up; 0: the normal approximation.',
        low=0,
        changes='sampling',
    )
    energy_scale: str = option(
        'auto',
        'F = f / delta_t^2 (step) or f / s_{t+1}^2 (noise); auto: noise where K is 0 in training.',
        choices=('auto', 'step', 'noise'),
    )
    initializer: bool = option(
        False, 'Start each chain at the proposal of a second network instead of at x_{t+1}.'
    )
    proposal: str = option(
        'x_next',
        'Where chains start: x_{t+1}, or what the energy of the noise level above proposes (tweedie).',
        choices=('x_next', 'tweedie'),
        changes='sampling',
    )
    final_denoise: bool = option(False, 'End sampling with one Tweedie denoising step.', changes='sampling')


@dataclasses.dataclass(frozen=True)
class Initializer:
    """Initializer network (with --initializer)"""

    initializer_channels: int = option(64, 'Channels at the first resolution.', low=8, high=1024)
    initializer_mult: tuple[int, ...] = option(
        (1, 1, 1), 'Multiples of --initializer_channels at each resolution.', low=1, high=16
    )
    initializer_blocks: int = option(3, 'Residual blocks at each resolution.', low=1, high=64)
    initializer_attention: bool = option(True, 'Self-attention at 8 and 16 px.')
    initializer_dropout: float = option(0.1, 'Share of activations dropped while training.', low=0, high=0.9)
    initializer_learning_rate: float = option(
        1e-5, "Its Adam's learning rate after the warm-up.", low=1e-8, high=1
    )
    initializer_level_weight: bool = option(
        False, 'Weigh the loss of each level by 1 / s_{t+1}^2 (the paper: all alike).'
    )
    initializer_data_share: float = option(
        0.0, 'Share of its loss that teaches it the images, not the chains.', low=0, high=1
    )
