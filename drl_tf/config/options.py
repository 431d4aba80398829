"""The options of data, sampling and evaluation.

The argument `changes` of an option says when its value may differ from the one stored with the run:

    never       at no time
    resume      when the same training resumes
    sampling    in modes that use a trained model
    scores      at any time; the option changes scores of samples, but not the samples
    always      at any time
"""

import dataclasses

from drl_tf.config.option_fields import option

GUIDANCE_BOUNDS = (-1, 20)
EXTRACTORS = ('inception', 'digits_classifier', 'efficientnet_lite0')
DIGITS = ('digits', 'mnist')  # Datasets whose classes the digits classifier knows.
STATISTICS = 'statistics'  # Directory to which --mode=stats writes, unless --stats_file names a file.


@dataclasses.dataclass(frozen=True)
class Data:
    """Data options: the dataset and its image size.

    `Config.data` holds one. Each field is an option of the command line; `python run.py --help` shows their
    help texts.
    """

    dataset: str = option(
        'digits',
        'Name of a dataset, or your own data: folder, npz:FILE, parquet:FILE_OR_DIR, tfrecords:DIR, '
        'tfds:NAME[/CONFIG], hf:NAME[:CONFIG].',
    )
    data_dir: str = option(
        '',
        'Directory of tensorflow-datasets or of the Hugging Face cache (default: their own), or of your '
        'pictures with --dataset=folder.',
        changes='always',
    )
    manual_dir: str = option(
        '', 'Directory of archives that you downloaded by hand; keep their names.', changes='always'
    )
    prepare_size: int = option(
        0,
        'Size in pixels at which to crop and store LSUN, losslessly; 0: store the original files.',
        low=0,
        high=1024,
    )
    image_size: int = option(0, 'Height and width in pixels; 0: those of the dataset.', low=0, high=1024)
    image_channels: int = option(
        0, '1 (grey), 3 (colour) or 2 (points); 0: that of the dataset.', choices=(0, 1, 2, 3)
    )
    data_mean: tuple[float, ...] = option(
        (),
        'Mean of the images in [-1, 1] for --energy=preconditioned: one number, or one per channel; '
        'default: measured when training begins.',
        low=-1,
        high=1,
    )
    data_std: float = option(
        0.0, 'Standard deviation of the images; 0: measured when training begins.', low=0, high=1
    )
    exact_images: int = option(
        0,
        'Training images of --energy=exact, the first ones; 0: all, and their mirror images if training '
        'mirrors the dataset.',
        low=0,
    )
    num_classes: int = option(
        0,
        'Number of classes of a conditional model; 0: none, -1: those of the dataset.',
        low=-1,
        high=100_000,
    )
    image_width: int = option(
        0,
        'Width in pixels if it differs from --image_size, which is then the height: pictures are cropped to '
        'this shape. 0: that of the data, or square.',
        low=0,
        high=1024,
    )
    flip: str = option(
        'auto',
        'Mirror images at random in training; auto: as the dataset says. --flip and --noflip also work.',
        choices=('auto', 'yes', 'no'),
    )
    labels_file: str = option(
        '',
        'CSV or JSONL file with the columns file_name and label of the pictures of --dataset=folder.',
        changes='always',
    )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return (self.image_size, self.image_width or self.image_size, self.image_channels)


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
        50_000, 'Use at most this many real images, the first of a split; 0: all.', low=0, changes='scores'
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
