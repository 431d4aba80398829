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
    data_mean: tuple[float, ...] = option(
        (),
        'Mean of the images in [-1, 1], one number or one a channel, for --energy=preconditioned; measured '
        'when training begins if not given.',
        low=-1,
        high=1,
    )
    data_std: float = option(
        0.0, 'Their standard deviation; 0: measured where training begins.', low=0, high=1
    )
    num_classes: int = option(
        0, "Classes of a conditional model: 0 for none, -1 for the dataset's.", low=-1, high=100_000
    )


@dataclasses.dataclass(frozen=True)
class Training:
    """Training"""

    objective: str = option(
        'contrastive',
        'Recovery likelihood by samples (contrastive), or score matching: of its conditionals (dsm), or of '
        'all noise levels (score_matching, with --energy=preconditioned).',
        choices=('contrastive', 'dsm', 'score_matching'),
    )
    levels: str = option(
        'walk',
        'Noise levels that score_matching learns: those that sampling visits (walk), or all between them.',
        choices=('walk', 'continuous'),
    )
    time_score: float = option(
        0.0,
        'Weight of the time score, which teaches score_matching the heights of energies.',
        low=0,
        high=1e3,
    )
    heights_after: int = option(0, 'Steps before --time_score begins.', low=0)
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
    adam_beta2: float = option(0.999, "Adam's decay of the second moment.", low=0, high=0.9999)
    warmup_steps: int = option(1000, 'Steps over which the learning rate rises linearly from 0.', low=0)
    decay_steps: int = option(
        0, 'Steps over which the learning rate falls to a hundredth, by half a cosine; 0: it stays.', low=0
    )
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
    grid_every: int = option(5000, 'Steps between sample grids.', low=1, changes='resume')


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
