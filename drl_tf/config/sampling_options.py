"""The options of sampling and of evaluation."""

import dataclasses

from drl_tf.config.option_fields import option

GUIDANCE_BOUNDS = (-1, 20)
EXTRACTORS = ('inception', 'digits_classifier', 'efficientnet_lite0')
STATISTICS = 'statistics'  # Directory to which --mode=stats writes, unless --stats_file names a file.


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Sampling options: chains, noise levels, guidance and batch size.

    `Config.sampling` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    noise_scale: float = option(
        0.99,
        'Factor of the noise in sampling, in chains and in --proposal=tweedie; training uses 1.',
        low=0,
        high=2,
        changes='always',
    )
    prior: str = option(
        'white',
        'x_T, from which sampling starts: white noise (white), or noise with the mean and variance of noisy '
        'training images (data).',
        choices=('white', 'data'),
        changes='always',
    )
    guidance: float = option(
        0.0,
        'Guidance weight w of conditional models: F = (1 + w) F(class) - w F(no class).',
        low=GUIDANCE_BOUNDS[0],
        high=GUIDANCE_BOUNDS[1],
        changes='always',
    )
    step_scale: float = option(
        1.0,
        'Factor of the Langevin step size delta_t in sampling.',
        low=0.01,
        high=100,
        changes='always',
    )
    sampling_steps: tuple[int, ...] = option(
        (),
        'Langevin steps K in sampling, if it is not K of training: one number, or one per level from 0 up. '
        'The step sizes change so that the chains take the same total time. Default: --mcmc_steps.',
        low=1,
        changes='always',
    )
    langevin_rule: str = option(
        'plain',
        'Drift of Langevin steps: the gradient (plain); or, for steps larger than those of training, the '
        'gradient corrected by that of the step before (ab2).',
        choices=('plain', 'ab2'),
        changes='always',
    )
    corrector: str = option(
        'auto',
        'Kind of chains in sampling; --contrastive_corrector is that in training. auto: mala for log '
        'densities with --proposal=tweedie, else langevin; none if K = 0.',
        choices=('auto', 'none', 'langevin', 'mala', 'hmc'),
        changes='always',
    )
    corrector_step: float = option(
        0.0,
        'Step size of the chains in sampling, as q in delta_t^2 = 2 q / L_t, where L_t is the largest '
        'curvature. 0: adapted to an acceptance (mala, hmc), or delta_t of --b2 (langevin).',
        low=0,
        high=2,
        changes='always',
    )
    sampling_levels: int = option(
        0,
        'Number of noise levels that sampling visits, evenly spaced; 0: all.',
        low=0,
        high=999,
        changes='always',
    )
    sample_batch_size: int = option(64, 'Images to sample at once.', low=1, high=65536, changes='always')


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluation options: how samples are compared with real images.

    `Config.evaluation` holds one. Each field is an option of the command line; `python run.py --help` shows
    their help texts.
    """

    extractor: str = option(
        '',
        'Network that extracts the features to compare: inception, digits_classifier, efficientnet_lite0, a '
        'SavedModel or a .keras file (default: digits_classifier for digits, else inception).',
        changes='scores',
    )
    inception: str = option(
        '', 'Directory of Inception as a SavedModel (default: downloaded from TF-Hub).', changes='scores'
    )
    stats_file: str = option(
        '',
        'File of statistics of real images: --mode=stats writes it, other modes compare with it.',
        changes='scores',
    )
    num_real: int = option(
        50_000,
        'At most so many real images: the first of a split, or random ones of your own data; 0: all.',
        low=0,
        changes='scores',
    )
    evaluate_every: int = option(
        0,
        'Steps between evaluations in training, which keep the best checkpoint; 0: none.',
        low=0,
        changes='scores',
    )
    evaluate_samples: int = option(
        2048,
        'Images to sample for each evaluation of --evaluate_every.',
        low=2,
        high=10_000_000,
        changes='scores',
    )
