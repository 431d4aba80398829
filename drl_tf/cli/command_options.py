"""The modes, and the options that say what to do and how: each field of `Command` is one, such as --mode."""

import dataclasses
import os

from drl_tf.config.option_fields import option
from drl_tf.core.weights import Weights
from drl_tf.editing import plans
from drl_tf.runs.exported import IN_A_RUN

MODES = (
    'import_official', 'prepare', 'train', 'sample', 'compose', 'inpaint', 'restore', 'edit', 'interpolate',
    'stats', 'evaluate', 'likelihood', 'score', 'ood', 'density', 'long_run', 'sweep_steps', 'sweep_guidance',
    'sweep_chains', 'tune_sampler', 'ablate', 'export', 'report', 'app',
)  # fmt: skip
EDITED = ('inpaint', 'restore', 'edit')  # Modes that change given images.
SCORED = ('evaluate', 'sweep_steps', 'sweep_guidance', 'sweep_chains', 'tune_sampler', 'ablate')
# Values of --method.
METHODS = {'likelihood': ('ais', 'direct'), 'inpaint': plans.METHODS, 'restore': plans.METHODS}
TO_OUTPUT_DIR = ('sample', 'compose', *EDITED, 'interpolate', 'score', 'ood')  # --output_dir applies.
_SCORED_IMAGES = 2048
_MODEL_OF_APP = 'digits'


@dataclasses.dataclass(frozen=True)
class Command:
    """Command options: what to do, and with which files.

    Each field is an option of the command line; `python run.py --help` shows their help texts.
    """

    mode: tuple[str, ...] = option(
        ('train',), f'What to do: one or more of {", ".join(MODES)}. They run in this order.'
    )
    workdir: str = option(
        '', 'Directory of the run; training defaults to runs/<dataset>_<image_size>_<recipe>.'
    )
    official_checkpoint: str = option(
        '', "Checkpoint written by the authors' TensorFlow code: its path without .index."
    )
    official_weights: str = option(
        'model_ema',
        'Which weights of --official_checkpoint to take: averaged (model_ema) or raw (model).',
        choices=('model_ema', 'model'),
    )
    model: str = option(
        '',
        'Exported model to use instead of a run: its directory, or the name of one in the package. '
        '--expression also takes two, --model=A,B.',
    )
    init_from: str = option(
        '', 'Start a new run from these weights: the workdir of another run, or an exported model.'
    )
    restart: bool = option(False, 'Start anew; the run in the workdir is moved to <workdir>.1, .2, ...')
    weights: str = option(
        Weights.EMA, 'Which weights of the network to use: averaged (ema) or raw.', choices=tuple(Weights)
    )
    checkpoint_step: int = option(-1, 'Step of the checkpoint to use; -1: the newest.', low=-1)
    best: bool = option(False, 'Use the best checkpoint, found by --evaluate_every, instead of the newest.')
    num_samples: int = option(
        0,
        'Images to sample. 0: 64, or 100 with classes, or 10,000 points; 2,048 to evaluate; '
        '500 for each setting of tune_sampler; 256 of each kind, or 2,048 points, for the report.',
        low=0,
        high=10_000_000,
    )
    first_sample: int = option(
        0, 'Index of the first image to sample; image i is the same in every set.', low=0, high=1_000_000_000
    )
    output_dir: str = option(
        '',
        'Where --mode=sample and compose write (default: <workdir>/samples), inpaint, restore, edit, '
        'interpolate and mixtures of compose (default: <workdir>/editing), score (<workdir>/scores) and '
        'ood (<workdir>/ood); a run may be read-only. --mode=prepare makes this directory.',
    )
    save_images: bool = option(
        False, 'Also write each sampled image, or the map of each scored image, as a PNG file.'
    )
    labels: tuple[int, ...] = option(
        (),
        'Classes, from 0. --mode=sample cycles through them (default: all); compose multiplies their '
        'densities (default: 0,1). inpaint, restore and edit give them to the images in turn (default: no '
        'class); interpolate goes from the first to the second.',
        low=0,
    )
    label_weights: tuple[float, ...] = option(
        (1.0,), 'Weights w_i of the --labels in --mode=compose; one number applies to all.'
    )
    expression: str = option(
        '',
        'What --mode=compose draws, in place of --labels: classes with & (and), | (or), ! (not) and '
        "brackets, such as '3 & !8'; or two models a and b and their classes, such as 'a & b' or 'a3 | b8'.",
    )
    input: str = option(
        'test',
        'Images for --mode=inpaint, restore, edit and score: test (the test split), a picture, a directory '
        'of pictures, or a .npz or .npy file.',
    )
    resize: bool = option(
        False, 'Crop pictures of --input, and of folder:DIR in --ood, to the square, and resize them.'
    )
    degraded: bool = option(
        False, 'The images of --input are degraded already; without it, --mode=restore degrades them first.'
    )
    num_inputs: int = option(8, 'Number of images to take from --input.', low=1, high=1000)
    num_results: int = option(4, 'Number of results for each image.', low=1, high=100)
    mask: str = option(
        'half',
        'Missing pixels of --mode=inpaint: half (the lower half), a rectangle top,left,height,width, '
        'random:0.7 (that share of the pixels), or a picture that is white where pixels are missing.',
    )
    degradation: str = option(
        'super2',
        'What --mode=restore undoes: super2, super4 (smaller images), grey, blur:STD, blur:KERNEL.npy, '
        'noise:STD, or noise (of unknown deviation). STD is in pixels for blur; for noise, images are in '
        '[-1, 1].',
    )
    strength: float = option(
        0.5,
        'How much noise --mode=edit adds before it draws anew, as a share of the noise levels.',
        low=0,
        high=1,
    )
    between: tuple[int, ...] = option(
        (0, 1), 'Indices of the two samples of --mode=interpolate.', low=0, high=1_000_000_000
    )
    num_frames: int = option(
        9, 'Number of images of --mode=interpolate, both samples included.', low=2, high=1000
    )
    edit_levels: int = option(
        0,
        'Number of noise levels of --method=posterior. 0: 12 if --levels=continuous, else as in sampling.',
        low=0,
        high=1000,
    )
    edit_steps: int = option(
        -1,
        'MALA steps at each level of --method=posterior. 0: none; each level takes its proposal as it is. '
        '-1: 5 steps.',
        low=-1,
        high=100_000,
    )
    edit_rounds: int = option(
        0,
        'How often inpaint and restore sample each level. 0: 2, or 5 with --method=replace.',
        low=0,
        high=1000,
    )
    samples: str = option(
        '', 'Images from elsewhere to evaluate: a directory of pictures, or a .npz or .npy file.'
    )
    evaluation_seeds: tuple[int, ...] = option(
        (), 'Seeds to evaluate with; several give a mean and a standard deviation.', low=0, high=2**31 - 1
    )
    sweep_levels: tuple[int, ...] = option(
        (1, 2, 3, 6, 12, 24), 'Numbers of noise levels T of --mode=sweep_chains.', low=1, high=999
    )
    sweep_mcmc_steps: tuple[int, ...] = option(
        (0, 1, 3, 10, 30), 'Numbers of steps K of --mode=sweep_chains.', low=0, high=100_000
    )
    sweep_correctors: tuple[str, ...] = option(
        ('langevin', 'mala', 'hmc'),
        'Correctors of --mode=sweep_chains: langevin (q = 0.1), mala, hmc (adapted steps).',
    )
    tune_minutes: float = option(
        30.0, 'Minutes of --mode=tune_sampler; the same command goes on. 0: no limit.', low=0
    )
    tune_settings: int = option(
        0, 'Samplers that --mode=tune_sampler measures in all. 0: no limit.', low=0, high=100_000
    )
    tune_gradients: int = option(
        0,
        'Most gradients per image in --mode=tune_sampler, which then stores the sampler with the smallest '
        "distance. 0: it stores the cheapest that is as good as the run's own.",
        low=0,
        high=1_000_000,
    )
    sampler: str = option(
        'run',
        "Sampler of --mode=sample and evaluate: the run's own, for t6, t1k and cdrl the papers' (run), or "
        'that of --mode=tune_sampler (tuned). Options that are given take precedence.',
        choices=('run', 'tuned'),
    )
    method: str = option(
        '',
        '--mode=likelihood finds log Z by annealing from both sides (ais), or from noisy images (direct; the '
        'default with --levels=continuous). --mode=inpaint and restore draw by chains on the posterior '
        '(posterior; the default of preconditioned energies), or overwrite the known pixels at each level '
        '(replace).',
        choices=('', *METHODS['likelihood'], *METHODS['inpaint']),
    )
    ood: tuple[str, ...] = option(
        ('noise', 'constant', 'inverted', 'shifted', 'letters'),
        'Sets of images to tell from the test split: those of the default, interpolation, uniform, '
        'shuffled, white, black, noisy, blurred, folder:DIR, or names of other datasets.',
    )
    background: str = option(
        '',
        'Run or exported model whose log density --mode=ood subtracts: a model of the background, or of '
        'images in general.',
    )
    num_chains: int = option(
        0,
        'Number of chains. 0: 64 forward and 64 backward in --mode=likelihood, 1,000 in density, 100 from '
        'each start in long_run.',
        low=0,
        high=1_000_000,
    )
    ais_steps: int = option(
        1000,
        'Number of steps of annealing between noise and level 0. For models that were not trained at all '
        'noise levels it is approximate, and each level has at least one.',
        low=1,
        high=10_000_000,
    )
    hmc_leapfrog: int = option(5, 'Leapfrog steps per HMC transition.', low=1, high=1000)
    chain_levels: tuple[int, ...] = option(
        (), 'Noise levels of --mode=long_run; default: three, evenly spaced from 0 up.', low=0
    )
    chain_method: str = option(
        'hmc',
        'Sampler of --mode=long_run: hmc, mala, or langevin (as in training, without a correction).',
        choices=('hmc', 'mala', 'langevin'),
    )
    chain_burn_in: int = option(
        200,
        'Transitions of --mode=long_run that adapt the step size, which is fixed afterwards.',
        low=0,
        high=10_000_000,
    )
    chain_steps: int = option(
        100_000, 'Transitions of each chain of --mode=long_run in all.', low=1, high=10_000_000
    )
    chain_minutes: float = option(
        30.0,
        'Stop --mode=long_run after this many minutes; the same command continues it. 0: no limit.',
        low=0,
    )
    split: str = option('train', 'Split that --mode=stats reads.', choices=('train', 'test'))
    keep_features: bool = option(
        True, 'Keep the features of 10,000 images in the statistics, for KID, precision and recall.'
    )
    export_dir: str = option('', 'Parent of the version folders (default: <workdir>/saved_model).')
    max_samples: int = option(
        0,
        'Largest number of images per request to the exported model. 0: 1,024, or fewer if their gradient '
        'needs more than 4 GiB.',
        low=0,
    )
    compare: tuple[str, ...] = option(
        (), 'Directories of other runs that --mode=report compares with the run, in comparison.html.'
    )
    port: int = option(7860, 'Port of --mode=app, which only this machine can reach.', low=1, high=65535)
    dry_run: str = option(
        '',
        'Print the resolved configuration and its cost, and stop; --dry_run=json prints JSON.',
        choices=('', 'text', 'json'),
    )
    dry_run_devices: int = option(
        0, 'Number of devices for --dry_run; 0: those of this machine and TF_CONFIG.', low=0, high=65536
    )
    version: bool = option(False, 'Print the version and exit.')
    help: bool = option(False, 'Print this help and exit.')


def num_scored(command: Command) -> int:
    """Returns how many images to sample for an evaluation: --num_samples, or 2,048 if that is 0."""
    return command.num_samples or _SCORED_IMAGES


def export_directory(command: Command, workdir: str) -> str:
    """Returns the parent of the version directories of an export: --export_dir, or <workdir>/saved_model."""
    return command.export_dir or os.path.join(workdir, IN_A_RUN)


def reads_export(command: Command) -> bool:
    """Returns whether the command works on an exported model and without a run's directory.

    It does if --model is given, and each mode is app, or writes images or scores to a given --output_dir.
    """
    write_elsewhere = {'app', *(TO_OUTPUT_DIR if command.output_dir else ())}
    return bool(command.model) and set(command.mode) <= write_elsewhere


def completed(command: Command) -> Command:
    """Returns the command, with --model=digits if app is the only mode and --workdir and --model are ''."""
    if command.mode == ('app',) and not (command.workdir or command.model):
        return dataclasses.replace(command, model=_MODEL_OF_APP)
    return command


def weights_of(command: Command) -> Weights:
    """Returns which weights of the network the command uses: the option --weights."""
    return Weights(command.weights)


def labels_of(command: Command) -> tuple[int, ...]:
    """Returns the classes that --mode=compose combines: --labels, or (0, 1) by default."""
    return command.labels or (0, 1)
