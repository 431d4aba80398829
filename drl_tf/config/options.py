"""The options of a run, in groups: their bounds, defaults and help texts.

Each option says where it may differ from the stored value: `resume` (a rerun of the same training),
`sampling` (modes that use a trained model), `always`, `scores` (always, since samples do not depend on it),
or `never`.
"""

import dataclasses

from drl_tf.config.option_fields import option

PRECISIONS = ('auto', 'float32', 'bfloat16')
GUIDANCE_BOUNDS = (-1, 20)
EXTRACTORS = ('inception', 'digits_classifier', 'efficientnet_lite0')
DIGITS = ('digits', 'mnist')  # Datasets whose classes the digits classifier knows.


@dataclasses.dataclass(frozen=True)
class Data:
    """Data"""

    dataset: str = option('digits', 'Name in the dataset table, or "folder" for your own pictures.')
    data_dir: str = option(
        '',
        'Where tensorflow-datasets keeps its files (default: its own), or the folder of images.',
        changes='always',
    )
    manual_dir: str = option(
        '', 'Directory of archives that you fetched by hand, under their own names.', changes='always'
    )
    prepare_size: int = option(
        0, 'Pixels at which LSUN is prepared, cropped and lossless; 0 keeps its files.', low=0, high=1024
    )
    image_size: int = option(0, "Height and width in pixels; 0 takes the dataset's own.", low=0, high=1024)
    image_channels: int = option(
        0, "1 (grey) or 3 (colour), 2 of points; 0 takes the dataset's own.", choices=(0, 1, 2, 3)
    )
    num_classes: int = option(
        0, "Classes of a conditional model: 0 for none, -1 for the dataset's.", low=-1, high=100_000
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """Energy network"""

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
        'Bundle of settings: t6 and t1k, the first paper with 6 and with 1,000 noises, or cdrl, its '
        'cooperative successor.',
        choices=('t6', 't1k', 'cdrl'),
    )
    schedule: str = option(
        't6', 'Noise levels: t6, t1k, or the cosine log-SNR of cdrl.', choices=('t6', 't1k', 'cosine')
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


@dataclasses.dataclass(frozen=True)
class Training:
    """Training"""

    objective: str = option(
        'contrastive',
        'Recovery likelihood by samples (contrastive), or denoising score matching (dsm).',
        choices=('contrastive', 'dsm'),
    )
    train_steps: int = option(1_000_000, 'Optimizer steps in all.', low=1, changes='resume')
    max_minutes: float = option(
        0.0, 'Stop, and save, after this many minutes of training; 0 is no limit.', low=0, changes='resume'
    )
    batch_size: int = option(256, 'Images per step, over all devices.', low=1)
    microbatches: int = option(
        1,
        "Parts that a device takes its images of a step in; the gradients add up to the whole batch's.",
        low=1,
        changes='resume',
    )
    steps_per_execution: int = option(
        1, 'Steps that a device takes before it returns to Python; all --..._every and --train_steps must '
           'divide by it.', low=1,
        changes='resume',
    )  # fmt: skip
    remat: bool = option(
        False, 'Compute residual blocks again for the gradient: less memory, more time.', changes='resume'
    )
    learning_rate: float = option(1e-4, "Adam's learning rate after the warm-up.", low=1e-8, high=1)
    adam_beta1: float = option(
        0.9,
        "Adam's decay of the first moment (the paper has 0.5 for CelebA and at 128 px).",
        low=0,
        high=0.999,
    )
    warmup_steps: int = option(1000, 'Steps over which the learning rate rises linearly from 0.', low=0)
    ema_decay: float = option(
        0.999,
        'Decay of the averaged weights; min(decay, (1 + n) / (10 + n)) at step n.',
        low=0,
        high=0.999999,
    )
    clip_norm: float = option(0.0, 'Clip the gradient at this global norm; 0 does not clip.', low=0)
    energy_l2: float = option(0.0, 'Weight of mean f^2 over both halves of the batch, a stabiliser.', low=0)
    label_dropout: float = option(
        0.1, 'Share of images whose class is hidden while training a conditional model.', low=0, high=1
    )
    shared_noise: bool = option(
        False, 'One noise for x_t and x_{t+1} (lower variance; only the marginals are kept).'
    )
    seed: int = option(0, 'Seed of every random draw.', low=0, high=2**31 - 1, changes='sampling')
    precision: str = option(
        'auto',
        'Precision of the networks; auto: bfloat16 where the hardware computes in it.',
        choices=PRECISIONS,
        changes='sampling',
    )
    deterministic: bool = option(
        True, 'Only operations that give the same bits each time; costs speed on GPU.', changes='always'
    )
    max_loss: float = option(
        1e3,
        'The energies have run away when the absolute loss (dsm: per pixel and channel) exceeds this.',
        low=1e-3,
        changes='resume',
    )
    max_rollbacks: int = option(
        3,
        'How often a run whose energies ran away goes back to its last checkpoint.',
        low=0,
        changes='resume',
    )
    rollback_factor: float = option(
        0.5, 'Each time its learning rates are multiplied by this.', low=1e-6, high=1, changes='resume'
    )
    log_every: int = option(100, 'Steps between lines of the metrics log.', low=1, changes='resume')
    checkpoint_every: int = option(
        1000, 'Steps between checkpoints; the last 3 are kept.', low=1, changes='resume'
    )
    grid_every: int = option(5000, 'Steps between sample grids; 0 draws none.', low=0, changes='resume')


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Sampling"""

    noise_scale: float = option(
        0.99, 'Multiple of the Langevin noise when sampling (1 in training).', low=0, high=2, changes='always'
    )
    guidance: float = option(
        0.0,
        'w: F = (1 + w) F(class) - w F(no class), for conditional models.',
        low=GUIDANCE_BOUNDS[0],
        high=GUIDANCE_BOUNDS[1],
        changes='always',
    )
    step_scale: float = option(
        1.0,
        'q: the Langevin drift is multiplied by q^2, the noise by q.',
        low=0.01,
        high=100,
        changes='always',
    )
    sampling_levels: int = option(
        0, 'Noise levels that sampling visits, evenly spaced; 0: all.', low=0, high=999, changes='always'
    )
    sample_batch_size: int = option(64, 'Images sampled at once.', low=1, high=65536, changes='always')


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation"""

    extractor: str = option(
        '',
        'Network whose features are compared: inception, digits_classifier, efficientnet_lite0, a '
        'SavedModel or a .keras file '
        '(default: digits_classifier for digits, else inception).',
        changes='scores',
    )
    inception: str = option(
        '', 'Directory of Inception as a SavedModel (default: from TF-Hub).', changes='scores'
    )
    stats_file: str = option(
        '', 'Statistics of real images: written by --mode=stats, else compared with.', changes='scores'
    )
    num_real: int = option(
        50_000, 'Real images at most, the first of a split; 0 takes all.', low=0, changes='scores'
    )
    evaluate_every: int = option(
        0,
        'Steps between evaluations in training; the best checkpoint is kept. 0: none.',
        low=0,
        changes='scores',
    )
    evaluate_samples: int = option(
        2048, 'Images to sample for each of these.', low=2, high=10_000_000, changes='scores'
    )
