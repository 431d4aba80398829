"""What can be asked for: the modes, and the options that say what to do and how."""

import dataclasses
import os

from drl_tf.config.option_fields import option
from drl_tf.runs.exported import IN_A_RUN

MODES = (
    'import_official', 'train', 'sample', 'compose', 'stats', 'evaluate', 'likelihood', 'density',
    'long_run', 'sweep_steps',
    'sweep_guidance', 'ablate', 'export',
)  # fmt: skip
SCORED = ('evaluate', 'sweep_steps', 'sweep_guidance', 'ablate')
_SCORED_IMAGES = 2048


@dataclasses.dataclass(frozen=True)
class Command:
    """Command"""

    mode: tuple[str, ...] = option(
        ('train',), f'What to do, one or more of {", ".join(MODES)}; done in this order.'
    )
    workdir: str = option(
        '', 'Directory of the run; training defaults to runs/<dataset>_<image_size>_<recipe>.'
    )
    official_checkpoint: str = option(
        '', "Checkpoint of the authors' TensorFlow code: its path without .index."
    )
    official_weights: str = option(
        'model_ema', 'Which of its weights: averaged or raw.', choices=('model_ema', 'model')
    )
    model: str = option(
        '', 'Exported model in place of a run: the name of one that comes with the package, or its directory.'
    )
    init_from: str = option(
        '', 'Workdir of another run, or exported model, whose weights a new run starts from.'
    )
    restart: bool = option(
        False, 'Put the run that is in the workdir aside, in <workdir>.1 and so on, and begin anew.'
    )
    weights: str = option('ema', 'Averaged or raw weights.', choices=('ema', 'raw'))
    checkpoint_step: int = option(-1, 'Step of the checkpoint to use; -1 takes the newest.', low=-1)
    best: bool = option(False, 'Use the best checkpoint of --evaluate_every instead of the newest.')
    num_samples: int = option(
        0,
        'Images to sample; 0: 64 (100 with classes, 10,000 points), 2,048 to evaluate.',
        low=0,
        high=10_000_000,
    )
    first_sample: int = option(
        0, 'Index of the first image to sample; image i is the same in any set.', low=0, high=1_000_000_000
    )
    output_dir: str = option(
        '', 'Where --mode=sample and compose write; the default is <workdir>/samples. A run can be read-only.'
    )
    save_images: bool = option(False, 'Write each sampled image as a PNG file too.')
    labels: tuple[int, ...] = option(
        (),
        'Classes, from 0: --mode=sample takes them in turn (default: all), compose multiplies them (0,1).',
        low=0,
    )
    label_weights: tuple[float, ...] = option(
        (1.0,), 'Weights w_i of the --labels that are multiplied; one number serves for all.'
    )
    samples: str = option(
        '', 'Images made elsewhere to evaluate: a directory of pictures, or a .npz or .npy file.'
    )
    evaluation_seeds: tuple[int, ...] = option(
        (), 'Seeds to evaluate; several give mean and deviation.', low=0, high=2**31 - 1
    )
    method: str = option(
        '',
        'How --mode=likelihood finds log Z: by annealing from both sides (ais), or from noisy images '
        '(direct; the default where levels are continuous).',
        choices=('', 'ais', 'direct'),
    )
    num_chains: int = option(
        0,
        'Chains of --mode=likelihood (0: 64), forward and as many backward, of density (1,000) and of '
        'long_run (100, from either start).',
        low=0,
        high=1_000_000,
    )
    ais_steps: int = option(
        1000,
        'Densities that annealing goes through, about; each level is one at least.',
        low=1,
        high=10_000_000,
    )
    hmc_leapfrog: int = option(5, 'Leapfrog steps of a transition of HMC.', low=1, high=1000)
    chain_levels: tuple[int, ...] = option(
        (), 'Levels of --mode=long_run; without it three, evenly spaced from 0 up.', low=0
    )
    chain_method: str = option(
        'hmc',
        'Its chains: hmc, mala, or langevin (as in training, uncorrected).',
        choices=('hmc', 'mala', 'langevin'),
    )
    chain_burn_in: int = option(
        200, 'Transitions in which their step size is adapted; it is fixed then.', low=0, high=10_000_000
    )
    chain_steps: int = option(100_000, 'Transitions of each chain in all.', low=1, high=10_000_000)
    chain_minutes: float = option(
        30.0, 'Minutes that this command may run chains; the same command goes on. 0: no limit.', low=0
    )
    split: str = option('train', 'Split whose statistics --mode=stats makes.', choices=('train', 'test'))
    keep_features: bool = option(
        True, 'Keep features of 10,000 images in the statistics, for KID, precision and recall.'
    )
    export_dir: str = option('', 'Parent of the version folders; the default is <workdir>/saved_model.')
    max_samples: int = option(
        0,
        'Images of one request to the export at most; 0: 1,024, or as many as a gradient in 4 GiB has.',
        low=0,
    )
    dry_run: str = option(
        '',
        'Print the resolved configuration and its cost, and stop; --dry_run=json: as JSON.',
        choices=('', 'text', 'json'),
    )
    dry_run_devices: int = option(
        0,
        'Devices for which --dry_run predicts; 0: those of this machine and of TF_CONFIG.',
        low=0,
        high=65536,
    )
    version: bool = option(False, 'Print the version, and stop.')
    help: bool = option(False, 'Print this help, and stop.')


def num_scored(command):
    """How many images are sampled for a score."""
    return command.num_samples or _SCORED_IMAGES


def export_directory(command, workdir):
    """Parent of the version folders that --mode=export writes."""
    return command.export_dir or os.path.join(workdir, IN_A_RUN)


def reads_export(command):
    """Whether --model is read where it lies, since all that is written goes to --output_dir."""
    return bool(command.model and command.output_dir) and set(command.mode) <= {'sample', 'compose'}


def labels_of(command):
    """The classes that --mode=compose multiplies."""
    return command.labels or (0, 1)
