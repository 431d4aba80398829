"""What is refused before any work: options that do not go together, or not with the run."""

from drl_tf.base.errors import UserError
from drl_tf.base.files import REMOTE
from drl_tf.cli.command import MODES, SCORED, export_directory, num_scored
from drl_tf.config.options import text

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


def check_command(command, given):
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


def check_work(command, config, workdir):
    """Raises UserError for what a later mode would refuse, so that nothing is trained in vain; has the
    workdir use --model."""
    modes = set(command.mode)
    _check_points(command, config)
    if modes & {'train', 'long_run', *SCORED}:
        _check_scores(command, config)
    if modes & {'sample', 'compose'}:
        _check_classes(command, config)
    if modes & {'likelihood', 'long_run'}:
        _check_energies(command, config)
    if 'export' in modes:
        from drl_tf.serving import export

        export.check(config, export_directory(command, config))
    if command.model:
        from drl_tf.runs import exported

        exported.link(exported.find(command.model), workdir)


def _check_points(command, config):
    """Raises UserError for modes of images where there are points of the plane, and the other way round."""
    refused = [f'--mode={mode}' for mode in command.mode if mode in OF_IMAGES]
    refused += ['--evaluate_every'] * bool('train' in command.mode and config.evaluation.evaluate_every)
    refused += [
        f'--{name}'
        for name in ('extractor', 'inception')
        if config.planar and getattr(config.evaluation, name)
    ]
    if config.planar and refused:
        raise UserError(
            f'{refused[0]} is for images, and --dataset={config.data.dataset} has points: see --mode=density'
        )
    if 'density' in command.mode and not config.planar:
        raise UserError(
            '--mode=density is for points of the plane (--dataset=toy_checkerboard, ..), not for '
            f'{config.data.dataset}'
        )


def _check_scores(command, config):
    from drl_tf.evaluation import evaluate, evaluator
    from drl_tf.experiments import ablate, sweep

    if 'long_run' in command.mode:
        evaluator.check_extractor(config)
    if set(command.mode) & set(SCORED) or ('train' in command.mode and config.evaluation.evaluate_every):
        evaluator.check_scored(config, num_scored(command), 'stats' not in command.mode)
    if command.samples:
        evaluate.check_samples(config, command.samples)
    if 'sweep_guidance' in command.mode:
        sweep.check_guidance(config)
    if 'ablate' in command.mode:
        ablate.configs_of(config)


def _check_classes(command, config):
    from drl_tf.runs import generate

    if 'sample' in command.mode and command.label >= 0:
        generate.check_classes(config, (command.label,), 'label')
    if 'compose' in command.mode:
        generate.check_classes(config, command.labels, 'labels')


def _check_energies(command, config):
    from drl_tf.config import combinations

    top = config.diffusion.num_levels - 1
    if 'long_run' in command.mode and any(level > top for level in command.chain_levels):
        raise UserError(
            f'--chain_levels={text(command.chain_levels)} must be from 0 to {top}, one less than --num_levels'
        )
    for mode in {'likelihood', 'long_run'} & set(command.mode):
        combinations.check_energies(config, mode)
