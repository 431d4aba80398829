"""The options of training."""

import dataclasses

from drl_tf.config.option_fields import option

# Losses that teach heights: options whose value is the weight.
LOSSES_OF_HEIGHTS = ('time_score', 'level_classification', 'recovery_nce', 'recovery_off_data')
PRECISIONS = ('auto', 'float32', 'bfloat16')


@dataclasses.dataclass(frozen=True)
class Training:
    """Training options: losses, steps, batches, optimizer, checkpoints and log.

    `Config.training` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    objective: str = option(
        'contrastive',
        'What to minimise: recovery likelihood with samples (contrastive), denoising score matching of its '
        'conditionals (dsm), or score matching at all noise levels (score_matching, with '
        '--energy=preconditioned).',
        choices=('contrastive', 'dsm', 'score_matching'),
    )
    contrastive: float = option(
        0.0,
        'Weight of recovery likelihood in addition to --objective=score_matching. Its loss is log p of '
        'the last states of the chains minus log p of the data, with a weight for each level.',
        low=0,
        high=1e3,
    )
    contrastive_after: int = option(0, 'Step at which --contrastive begins.', low=0)
    contrastive_corrector: str = option(
        'mala',
        'Chains that train preconditioned energies by recovery likelihood; --mcmc_steps is their length.',
        choices=('langevin', 'mala', 'hmc'),
    )
    contrastive_step: float = option(
        0.15,
        'Step size of --contrastive_corrector, as q in delta_t^2 = 2 q / L_t, where L_t is the largest '
        'curvature. 0: delta_t of --b2.',
        low=0,
        high=2,
    )
    levels: str = option(
        'walk',
        'Noise levels of --objective=score_matching: those that sampling visits (walk), or all (continuous).',
        choices=('walk', 'continuous'),
    )
    time_score: float = option(
        0.0,
        'Weight of the time score loss, which fits log p across noise levels; for score_matching, in '
        'float32. It can begin in the thousands: give a larger --max_loss.',
        low=0,
        high=1e3,
    )
    level_classification: float = option(
        0.0,
        'Weight of a loss that classifies the noise level of an image against a neighbouring level by log p, '
        'which fits log p across noise levels; for score_matching, in float32.',
        low=0,
        high=1e3,
    )
    recovery_nce: float = option(
        0.0,
        "Weight of a loss that tells an image from the model's own proposal of it, given the image at the "
        'noise level above. It fits log p across noise levels and images; for score_matching, in float32.',
        low=0,
        high=1e3,
    )
    recovery_off_data: float = option(
        0.0,
        'Weight of a loss that makes log p at neighbouring noise levels agree on images unlike the data: '
        'training images with another contrast and brightness, or shifted sideways. Use it together with '
        '--recovery_nce; for score_matching of images, in float32.',
        low=0,
        high=1e3,
    )
    heights_after: int = option(
        0,
        'Step at which --time_score, --level_classification, --recovery_nce and --recovery_off_data begin. '
        'Before it, they cost nothing, and the log has 0 for them.',
        low=0,
    )
    train_steps: int = option(
        1_000_000,
        'Total number of optimizer steps. 0: 2,000 to 20,000, so that training uses each picture about 200 '
        'times.',
        low=0,
        changes='resume',
    )
    max_minutes: float = option(
        0.0, 'Save and stop after this many minutes of training; 0: no limit.', low=0, changes='resume'
    )
    batch_size: int = option(256, 'Images per step, summed over all devices.', low=1)
    microbatches: int = option(
        1,
        'Parts into which a device splits its images of a step, to save memory; the gradients are summed.',
        low=1,
        changes='resume',
    )
    steps_per_execution: int = option(
        1,
        'Steps per call from Python to the device; --train_steps and all --..._every must be multiples of '
        'this number.',
        low=1,
        changes='resume',
    )
    remat: bool = option(
        False,
        'Recompute the activations of residual blocks for the gradient: less memory, more time.',
        changes='resume',
    )
    learning_rate: float = option(1e-4, "Adam's learning rate after the warm-up.", low=1e-8, high=1)
    adam_beta1: float = option(
        0.9,
        "Adam's decay of the first moment; the paper uses 0.5 for CelebA and at 128 px.",
        low=0,
        high=0.999,
    )
    adam_beta2: float = option(0.999, "Adam's decay of the second moment.", low=0, high=0.9999)
    warmup_steps: int = option(1000, 'Steps during which the learning rate rises linearly from 0.', low=0)
    decay_steps: int = option(
        0,
        'Steps during which the learning rate falls to a hundredth along half a cosine; 0: constant, but '
        'with --train_steps=0 all steps.',
        low=0,
    )
    ema_decay: float = option(
        0.999,
        'Decay of the averaged weights; at step n, min(decay, (1 + n) / (10 + n)).',
        low=0,
        high=0.999999,
    )
    clip_norm: float = option(0.0, 'Clip gradients to this global norm; 0: no clipping.', low=0)
    energy_l2: float = option(
        0.0,
        'Weight of a penalty on f^2, averaged over positives and negatives, for --energy=paper.',
        low=0,
    )
    label_dropout: float = option(
        0.1, 'Share of images whose class is hidden in training, if the model has classes.', low=0, high=1
    )
    shared_noise: bool = option(
        False,
        'Use the same noise in x_t and x_{t+1}: less variance, but the pair (x_t, x_{t+1}) has another '
        'distribution.',
    )
    seed: int = option(0, 'Seed of all random draws.', low=0, high=2**31 - 1, changes='sampling')
    precision: str = option(
        'auto',
        'Precision of the networks; auto: bfloat16 if the hardware supports it.',
        choices=PRECISIONS,
        changes='sampling',
    )
    deterministic: bool = option(True, 'Use deterministic operations only; slower on GPU.', changes='always')
    max_loss: float = option(
        1e3,
        'Training has diverged if the absolute loss (dsm: per pixel and channel) exceeds this.',
        low=1e-3,
        changes='resume',
    )
    max_rollbacks: int = option(
        3,
        'How often a run that diverged may go back to its last checkpoint.',
        low=0,
        changes='resume',
    )
    rollback_factor: float = option(
        0.5,
        'Factor of the learning rates each time a run that diverged goes back to a checkpoint.',
        low=1e-6,
        high=1,
        changes='resume',
    )
    log_every: int = option(100, 'Steps between lines of the metrics log.', low=1, changes='resume')
    checkpoint_every: int = option(
        1000, 'Steps between checkpoints; the last 3 are kept.', low=1, changes='resume'
    )
    grid_every: int = option(5000, 'Steps between sample grids; 0 draws none.', low=0, changes='resume')
