"""The options of a model: networks, noise levels and chains."""

import dataclasses

from drl_tf.config.option_fields import option


@dataclasses.dataclass(frozen=True)
class Network:
    """Energy network options.

    `Config.network` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    energy: str = option(
        'paper',
        'Energy F: f / delta_t^2 of a network f at T levels (paper); a log density at all noise levels '
        '(preconditioned); or the exact log density of the noised training images (exact), a reference '
        'without training: --mode=train then stores the images in the run.',
        choices=('paper', 'preconditioned', 'exact'),
    )
    network: str = option(
        'resnet',
        "The paper's residual network (resnet), or <w, UNet(w)> (unet), which needs --energy=preconditioned.",
        choices=('resnet', 'unet'),
    )
    channels: int = option(128, 'Channels at the first resolution (ch).', low=4, high=1024)
    channel_mult: tuple[int, ...] = option(
        (1, 2, 2, 2),
        'Factors of --channels at each resolution; the image is halved between them.',
        low=1,
        high=16,
    )
    num_res_blocks: int = option(2, 'Residual blocks at each resolution (N).', low=1, high=64)
    attention: bool = option(False, 'Self-attention after each residual block at 16 px.')
    act: str = option(
        'lrelu', 'Activation inside the network; lrelu has slope 0.2.', choices=('lrelu', 'swish')
    )
    final_act: str = option(
        'relu', 'Activation before the sum over space.', choices=('relu', 'swish', 'identity')
    )
    norm: str = option(
        'none',
        'Normalisation in the residual blocks; with batch, the energy of an image depends on its whole '
        'batch.',
        choices=('none', 'batch', 'group', 'instance'),
    )
    conv_downsample: bool = option(
        False, 'Halve the image with a 3x3 convolution of stride 2 instead of 2x2 average pooling.'
    )
    conv_shortcut: bool = option(
        True, 'Use a 3x3 convolution as shortcut if a block changes the channels; off: 1x1.'
    )
    gain: bool = option(True, "Learn a factor per channel after a block's second convolution.")
    spectral_norm: bool = option(True, 'Spectral normalisation of the convolutions and dense layers.')
    dropout: float = option(
        0.0,
        "Dropout rate before a block's second convolution, in training.",
        low=0,
        high=0.9,
    )
    zero_residual: bool = option(True, "Initialise a block's second convolution with zeros.")
    time_act: bool = option(False, "Activation after a block's dense layer of the time embedding.")
    output_bias: bool = option(True, 'Bias of the last dense layer.')


@dataclasses.dataclass(frozen=True)
class Diffusion:
    """Diffusion options: noise levels and Langevin chains.

    `Config.diffusion` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    recipe: str = option(
        't6',
        'Preset of options: the first paper with 6 (t6) or 1,000 (t1k) noise levels, its cooperative '
        'successor (cdrl), or energies that are log densities (preconditioned).',
        choices=('t6', 't1k', 'cdrl', 'preconditioned'),
    )
    schedule: str = option(
        't6',
        'Noise levels: t6, t1k, the cosine log-SNR of cdrl, or those of Karras et al. (karras).',
        choices=('t6', 't1k', 'cosine', 'karras'),
    )
    num_levels: int = option(
        6,
        'Number of noise levels (T). A model trained with --levels=continuous has energies at all levels: '
        '--mode=sample and evaluate take another number for it.',
        low=1,
        high=999,
    )
    sigma_min: float = option(
        0.0074,
        'Lowest noise level of --schedule=karras: the standard deviation of the noise over the factor of the '
        'clean image. --mode=sample, evaluate and sweep_chains take others, within those of training, if '
        'the model has energies at all levels.',
        low=1e-4,
        high=1e4,
    )
    sigma_max: float = option(12.8, 'Highest noise level of --schedule=karras, likewise.', low=1e-4, high=1e4)
    b2: float = option(
        2e-4, 'b^2 in the Langevin step size, delta_t^2 = b^2 (S_t / S_0) s_{t+1}^2.', low=1e-8, high=1
    )
    mcmc_steps: tuple[int, ...] = option(
        (30,),
        'Chain steps K: one number, or one per level from 0 up. 0: no chain; samples are the proposals, or '
        'for recipe t1k the normal approximation.',
        low=0,
        changes='sampling',
    )
    energy_scale: str = option(
        'auto',
        "Scale of the paper's energy: F = f / delta_t^2 (step) or f / s_{t+1}^2 (noise); auto: noise if K "
        '= 0, else step; a later change of K keeps it.',
        choices=('auto', 'step', 'noise'),
    )
    initializer: bool = option(False, 'Start chains at the proposal of a second network instead of x_{t+1}.')
    proposal: str = option(
        'x_next',
        "Start of the chains: x_{t+1} (x_next), or a proposal by Tweedie's formula from the energy of the "
        'level above (tweedie).',
        choices=('x_next', 'tweedie'),
        changes='sampling',
    )
    final_denoise: bool = option(
        False,
        "End sampling with a denoising step by Tweedie's formula, which removes the noise of level 0.",
        changes='sampling',
    )


@dataclasses.dataclass(frozen=True)
class Initializer:
    """Initializer options: the network that proposes the start of chains (with --initializer).

    `Config.initializer` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    initializer_channels: int = option(64, 'Channels at the first resolution.', low=8, high=1024)
    initializer_mult: tuple[int, ...] = option(
        (1, 1, 1), 'Factors of --initializer_channels at each resolution.', low=1, high=16
    )
    initializer_blocks: int = option(3, 'Residual blocks at each resolution.', low=1, high=64)
    initializer_attention: bool = option(True, 'Self-attention at 8 and 16 px.')
    initializer_dropout: float = option(0.1, 'Dropout rate in training.', low=0, high=0.9)
    initializer_learning_rate: float = option(
        1e-5, "Learning rate of the initializer's Adam after the warm-up.", low=1e-8, high=1
    )
    initializer_level_weight: bool = option(
        False, 'Weight the loss of each level by 1 / s_{t+1}^2; off: all alike, as in the paper.'
    )
    initializer_data_share: float = option(
        0.0,
        'Weight of the training images in the loss; the last states of the chains have the remaining weight.',
        low=0,
        high=1,
    )
