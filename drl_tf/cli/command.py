"""What can be asked for: the modes, and the options that say what to do and how."""

import dataclasses

from drl_tf.base.errors import UserError
from drl_tf.base.files import REMOTE
from drl_tf.config.options import option, text

MODES = (
    'import_official', 'train', 'sample', 'compose', 'stats', 'evaluate', 'likelihood', 'density',
    'long_run', 'sweep_steps',
    'sweep_guidance', 'ablate', 'export',
)  # fmt: skip
SCORED = ('evaluate', 'sweep_steps', 'sweep_guidance', 'ablate')
OF_IMAGES = ('stats', 'likelihood', *SCORED)
_OF_FEATURES = ('train', 'stats', 'long_run', *SCORED)
_OF_A_CHECKPOINT = (
    'sample',
    'compose',
    'evaluate',
    'likelihood',
    'density',
    'long_run',
    'sweep_steps',
    'sweep_guidance',
    'export',
)
_READ_BY = {
    'official_checkpoint': ('import_official',),
    'official_weights': ('import_official',),
    'model': _OF_A_CHECKPOINT,
    'init_from': ('train',),
    'restart': ('train',),
    'label': ('sample',),
    'labels': ('compose',),
    'label_weights': ('compose',),
    'guidance': ('train', 'sample', 'evaluate', 'long_run', 'sweep_steps'),
    'sampling_levels': ('train', 'import_official', 'sample', 'compose', 'likelihood', 'export', *SCORED),
    'num_samples': ('sample', 'compose', 'density', *SCORED),
    'first_sample': ('sample', 'compose'),
    'checkpoint_step': _OF_A_CHECKPOINT,
    'best': _OF_A_CHECKPOINT,
    'num_chains': ('likelihood', 'density', 'long_run'),
    'ais_steps': ('likelihood', 'density'),
    'hmc_leapfrog': ('likelihood', 'density', 'long_run'),
    'chain_levels': ('long_run',),
    'chain_method': ('long_run',),
    'chain_burn_in': ('long_run',),
    'chain_steps': ('long_run',),
    'chain_minutes': ('long_run',),
    'samples': ('evaluate',),
    'evaluation_seeds': ('evaluate',),
    'split': ('stats',),
    'keep_features': ('stats',),
    'extractor': _OF_FEATURES,
    'inception': _OF_FEATURES,
    'stats_file': ('train', 'stats', *SCORED),
    'num_real': (*_OF_FEATURES, 'likelihood'),
    'evaluate_every': ('train',),
    'evaluate_samples': ('train',),
    'export_dir': ('export',),
    'max_samples': ('export',),
}
_OF_A_RUN = (
    'weights', 'checkpoint_step', 'best', 'num_samples', 'evaluation_seeds', 'seed', 'mcmc_steps',
    'noise_scale', 'step_scale',
    'final_denoise', 'guidance',
)  # fmt: skip
_OF_THE_ROWS = (
    'schedule',
    'num_levels',
    'mcmc_steps',
    'objective',
    'energy_scale',
    'max_minutes',
    'evaluate_every',
)
_LOCAL = (
    'workdir',
    'official_checkpoint',
    'init_from',
    'samples',
    'export_dir',
    'manual_dir',
    'stats_file',
    'inception',
)


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
    label: int = option(
        -1, 'Class to sample, from 0; -1 takes all in turn (up to 16 have a row each in the grid).', low=-1
    )
    labels: tuple[int, ...] = option((0, 1), 'Classes that --mode=compose multiplies.', low=0)
    label_weights: tuple[float, ...] = option((1.0,), 'Their weights w_i; one number serves for all.')
    samples: str = option(
        '', 'Images made elsewhere to evaluate: a directory of pictures, or a .npz or .npy file.'
    )
    evaluation_seeds: tuple[int, ...] = option(
        (), 'Seeds to evaluate; several give mean and deviation.', low=0, high=2**31 - 1
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
    export_dir: str = option('', 'Parent of the version folders; the default is saved_models/<dataset>.')
    max_samples: int = option(
        0,
        'Images of one request to the export at most; 0: 1,024, or as many as a gradient in 4 GiB has.',
        low=0,
    )
    dry_run: bool = option(False, 'Print the resolved configuration and its cost, and stop.')
    dry_run_devices: int = option(
        0,
        'Devices for which --dry_run predicts; 0: those of this machine and of TF_CONFIG.',
        low=0,
        high=65536,
    )
    version: bool = option(False, 'Print the version, and stop.')
    help: bool = option(False, 'Print this help, and stop.')


def check(command, given):
    """Raises UserError for unknown modes, and for options that none of the modes reads.

    Args:
      command: a `Command`.
      given: {name: value} of the options on the command line.
    """
    if not command.mode or set(command.mode) - set(MODES):
        raise UserError(f'--mode={",".join(command.mode)}: must be of {", ".join(MODES)}')
    for name, modes in _READ_BY.items():
        if name in given and not set(modes) & set(command.mode):
            raise UserError(f'--{name} is for --mode={",".join(modes)}, not for {",".join(command.mode)}')
    if 'import_official' in command.mode:
        _check_import(command, given)
    if 'model' in given:
        _check_model(command, given)
    idle = [f'--{name}' for name in _OF_A_RUN if name in given]
    if 'samples' in given and (
        not command.samples or (not set(command.mode) - {'evaluate', 'stats'} and idle)
    ):
        raise UserError(
            f'--samples={command.samples} must be a path, all of whose images are scored; drop '
            f'{", ".join(idle) or "it"}'
        )
    if command.dry_run_devices and not command.dry_run:
        raise UserError(f'--dry_run_devices={command.dry_run_devices} is for --dry_run: add that, or drop it')
    if 'num_chains' in given and command.num_chains == 1:
        raise UserError('--num_chains=1 must be 0 or at least 2')
    if 'num_real' in given and given.get('stats_file') and 'stats' not in command.mode:
        raise UserError(
            '--num_real is for real images that are read, --stats_file for those that were: drop one of them'
        )
    for name in (name for name in _LOCAL if REMOTE in given.get(name, '')):
        raise UserError(
            f'--{name}={given[name]} must be on this machine or mounted there: only --data_dir may be such '
            'as gs://bucket'
        )
    if 'ablate' in command.mode:
        _check_ablation(command, given)
    if len(set(command.evaluation_seeds)) < len(command.evaluation_seeds):
        raise UserError(f'--evaluation_seeds={text(command.evaluation_seeds)} must be different seeds')
    if len(command.label_weights) not in (1, len(command.labels)):
        raise UserError(
            f'--label_weights must be one number, or as many as the {len(command.labels)} --labels'
        )


def _check_ablation(command, given):
    if len(command.mode) > 1:
        raise UserError('--mode=ablate makes runs of its own: give it alone')
    for name in (name for name in _OF_THE_ROWS if name in given):
        value = text(tuple(given[name]) if isinstance(given[name], list) else given[name])
        raise UserError(f'--{name}={value}: the rows of --mode=ablate set it themselves; drop it')


def _check_import(command, given):
    for name in ('official_checkpoint', 'workdir'):
        if not getattr(command, name):
            raise UserError(f'--mode=import_official needs --{name}')
    begun_otherwise = [f'--{name}' for name in ('init_from', 'model', 'restart') if name in given]
    if begun_otherwise:
        raise UserError(f'--mode=import_official begins a run itself: drop {" and ".join(begun_otherwise)}')


def _check_model(command, given):
    """Raises UserError for options that do not go with an exported model."""
    if not command.model:
        raise UserError('--model= must be a name or a directory')
    if 'train' in command.mode:
        raise UserError(
            f'--model={command.model} is not trained on: give it as --init_from, from whose weights a new '
            'run starts'
        )
    unread = [f'--{name}' for name in ('weights', 'checkpoint_step', 'best') if name in given]
    if unread:
        raise UserError(f'--model={command.model} has one set of weights: drop {", ".join(unread)}')
