"""The command line: the only file that reads flags. It makes a `Config` of them and calls one function per mode."""

import dataclasses
import itertools
import json
import logging
import os
import pathlib
import sys
import typing

from absl import flags

from drl_tf import __version__, cluster, flagfiles
from drl_tf import config as configuration
from drl_tf.errors import DivergenceError, Interrupted, UserError, WorkerLost, printable

MODES = ('train', 'sample', 'compose', 'stats', 'evaluate', 'sweep_steps', 'sweep_guidance', 'export')
_WRONG_USE, _INTERRUPTED = 2, 130
_LONGEST_NAME, _LONGEST_LINE = 100, 2000
_NAMES = {
    bool: 'switch', int: 'whole number', float: 'number', str: 'text',
    tuple[int, ...]: 'whole numbers', tuple[float, ...]: 'numbers', tuple[str, ...]: 'names',
}  # fmt: skip
_SCORED = ('evaluate', 'sweep_steps', 'sweep_guidance')
_OF_FEATURES = ('train', 'stats', *_SCORED)
_READ_BY = {
    'init_from': ('train',),
    'restart': ('train',),
    'label': ('sample',),
    'labels': ('compose',),
    'label_weights': ('compose',),
    'guidance': ('train', 'sample', 'evaluate', 'sweep_steps'),
    'num_samples': ('sample', 'compose', *_SCORED),
    'first_sample': ('sample', 'compose'),
    'checkpoint_step': ('sample', 'compose', *_SCORED, 'export'),
    'best': ('sample', 'compose', *_SCORED, 'export'),
    'samples': ('evaluate',),
    'evaluation_seeds': ('evaluate',),
    'split': ('stats',),
    'keep_features': ('stats',),
    'extractor': _OF_FEATURES,
    'inception': _OF_FEATURES,
    'stats_file': _OF_FEATURES,
    'num_real': _OF_FEATURES,
    'evaluate_every': ('train',),
    'evaluate_samples': ('train',),
    'export_dir': ('export',),
    'max_samples': ('export',),
}
_OF_A_RUN = (
    'weights', 'checkpoint_step', 'best', 'num_samples', 'evaluation_seeds', 'seed', 'mcmc_steps', 'noise_scale', 'step_scale',
    'final_denoise', 'guidance',
)  # fmt: skip
_INTRODUCTION = f"""Energy-based models of images by diffusion recovery likelihood, version {__version__}.

  python run.py --dataset=digits                              train (resumes when run again)
  python run.py --mode=sample --workdir=runs/digits_16_cdrl   sample what was trained; also evaluate, export, ...
  python run.py --dataset=cifar10 --dry_run                   show configuration and cost, and stop

A switch --name is turned off by --noname; --flagfile=FILE reads options from a file, one a line. --dataset=X reads those that
exist of flags/recipe_<recipe>.flags, flags/X.flags, flags/X_<image_size>.flags and flags/X_<recipe>.flags, each of which
overrides those before it and the defaults shown here; the command line wins. --dry_run shows what comes out.
Exit codes: 0 done, {_WRONG_USE} wrong use or bad input, {DivergenceError.exit_code} training diverged, {WorkerLost.exit_code} another
worker of the run is gone, 128 + number ended by a signal ({_INTERRUPTED} Ctrl-C, 143 SIGTERM); training saves first, and the same
command goes on."""


@dataclasses.dataclass(frozen=True)
class Command:
    """Command"""

    mode: tuple[str, ...] = configuration.option(('train',), f'What to do, one or more of {", ".join(MODES)}; done in this order.')
    workdir: str = configuration.option('', 'Directory of the run; training defaults to runs/<dataset>_<image_size>_<recipe>.')
    init_from: str = configuration.option('', 'Workdir of another run whose weights a new run starts from.')
    restart: bool = configuration.option(False, 'Put the run that is in the workdir aside, in <workdir>.1 and so on, and begin anew.')
    weights: str = configuration.option('ema', 'Averaged or raw weights.', choices=('ema', 'raw'))
    checkpoint_step: int = configuration.option(-1, 'Step of the checkpoint to use; -1 takes the newest.', low=-1)
    best: bool = configuration.option(False, 'Use the best checkpoint of --evaluate_every instead of the newest.')
    num_samples: int = configuration.option(0, 'Images to sample; 0: 64 (100 with classes), 2,048 to evaluate.', low=0, high=10_000_000)
    first_sample: int = configuration.option(
        0, 'Index of the first image to sample; image i is the same in any set.', low=0, high=1_000_000_000
    )
    label: int = configuration.option(-1, 'Class to sample, from 0; -1 takes all in turn (up to 16 have a row each in the grid).', low=-1)
    labels: tuple[int, ...] = configuration.option((0, 1), 'Classes that --mode=compose multiplies.', low=0)
    label_weights: tuple[float, ...] = configuration.option((1.0,), 'Their weights w_i; one number serves for all.')
    samples: str = configuration.option('', 'Images made elsewhere to evaluate: a directory of PNG or JPEG files, or a .npz or .npy file.')
    evaluation_seeds: tuple[int, ...] = configuration.option(
        (), 'Seeds to evaluate; several give mean and deviation.', low=0, high=2**31 - 1
    )
    split: str = configuration.option('train', 'Split whose statistics --mode=stats makes.', choices=('train', 'test'))
    keep_features: bool = configuration.option(True, 'Keep features of 10,000 images in the statistics, for KID, precision and recall.')
    export_dir: str = configuration.option('', 'Parent of the version folders; the default is saved_models/<dataset>.')
    max_samples: int = configuration.option(1024, 'Largest num_samples that the exported signature `sample` takes.', low=1)
    dry_run: bool = configuration.option(False, 'Print the resolved configuration and its cost, and stop.')
    version: bool = configuration.option(False, 'Print the version, and stop.')
    help: bool = configuration.option(False, 'Print this help, and stop.')


def main(argv=None):
    """Runs a command line (`sys.argv` where None) and returns its exit code; errors of use are one line on stderr."""
    argv = sys.argv if argv is None else argv
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    logging.getLogger('tensorflow').setLevel('ERROR')
    try:
        return _run(['--help' if word == '-h' else word for word in argv])
    except (UserError, DivergenceError, Interrupted, WorkerLost) as error:
        return _fail(error, error.exit_code)
    except flags.Error as error:
        return _fail(error, _WRONG_USE)
    except OSError as error:
        return _fail(error, _WRONG_USE)
    except KeyboardInterrupt:
        return _fail('interrupted', _INTERRUPTED)


def _fail(error, code):
    line = printable(' '.join(str(error).split()))
    if len(line) > _LONGEST_LINE:
        line = f'{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}'
    print(f'error: {line}', file=sys.stderr)
    return code


def _run(argv):
    values = _parse(argv)
    if values.help:
        print(help_text())
        return 0
    if values.version:
        print(f'drl_tf {__version__}')
        return 0
    command, devices = _group(Command, values), _group(cluster.Devices, values)
    for group in (command, devices):
        configuration.check(group)
    _check_modes(command, values)
    cluster.chosen(devices)
    config, workdir = _resolve(command, values, argv)
    if command.dry_run:
        _print_dry_run(config)
        return 0
    return _with_workers(command, config, workdir, devices)


def _check_modes(command, values):
    """Raises UserError for unknown modes, and for flags that none of the modes reads."""
    if not command.mode or set(command.mode) - set(MODES):
        raise UserError(f'--mode={",".join(command.mode)}: must be of {", ".join(MODES)}')
    for name, modes in _READ_BY.items():
        if values[name].present and not set(modes) & set(command.mode):
            raise UserError(f'--{name} is for --mode={",".join(modes)}, not for {",".join(command.mode)}')
    idle = [f'--{name}' for name in _OF_A_RUN if values[name].present]
    if values['samples'].present and (not command.samples or (not set(command.mode) - {'evaluate', 'stats'} and idle)):
        raise UserError(f'--samples={command.samples} must be a path, all of whose images are scored; drop {", ".join(idle) or "it"}')
    if values['num_real'].present and values['stats_file'].value and 'stats' not in command.mode:
        raise UserError('--num_real is for real images that are read, --stats_file for those that were: drop one of them')
    if len(set(command.evaluation_seeds)) < len(command.evaluation_seeds):
        raise UserError(f'--evaluation_seeds={configuration.text(command.evaluation_seeds)} must be different seeds')
    if len(command.label_weights) not in (1, len(command.labels)):
        raise UserError(f'--label_weights must be one number, or as many as the {len(command.labels)} --labels')


def _with_workers(command, config, workdir, wanted):
    """Sets the devices up and runs the modes."""
    from drl_tf import devices, workers

    devices.set_up(config.training.deterministic, wanted)
    with workers.as_one_run():
        return _call_modes(command, config, workdir)


def _call_modes(command, config, workdir):
    """Runs the modes in order and prints after each where everything is."""
    from drl_tf import checkpoint, devices, evaluate, export, generate, sweep, train, workers

    config = config.replace(precision=devices.resolve_precision(config.training.precision))
    print(f'network arithmetic: {config.training.precision}' + (' (export: float32)' if 'export' in command.mode else ''), flush=True)
    workers.check_alike(dataclasses.asdict(command), dataclasses.asdict(config))
    workers.by_chief(lambda: _check_before_work(command, config))
    chosen = None if command.checkpoint_step < 0 else command.checkpoint_step
    step = (lambda: workers.told_by_chief(lambda: checkpoint.best_step(workdir))) if command.best else lambda: chosen
    export_dir = command.export_dir or os.path.join('saved_models', config.data.dataset)
    weights = command.label_weights * (len(command.labels) if len(command.label_weights) == 1 else 1)
    samples, scored = command.num_samples or (100 if config.data.num_classes else 64), command.num_samples or evaluate.NUM_SAMPLES
    first, most = command.first_sample, command.max_samples
    functions = {
        'train': lambda: train.train(config, workdir, command.init_from, command.weights, command.restart),
        'sample': lambda: generate.generate(config, workdir, samples, command.weights, step(), command.label, first=first),
        'compose': lambda: generate.generate(config, workdir, samples, command.weights, step(), -1, (command.labels, weights), first),
        'stats': lambda: workers.by_chief(lambda: evaluate.make_statistics(config, command.split, command.keep_features)),
        'evaluate': lambda: (
            workers.by_chief(lambda: evaluate.evaluate_samples(config, command.samples))
            if command.samples
            else evaluate.evaluate(config, workdir, scored, command.weights, step(), command.evaluation_seeds)
        ),
        'sweep_steps': lambda: sweep.sweep_steps(config, workdir, scored, command.weights, step()),
        'sweep_guidance': lambda: sweep.sweep_guidance(config, workdir, scored, command.weights, step()),
        'export': lambda: workers.by_chief(lambda: export.export(config, workdir, export_dir, most, command.weights, step())),
    }
    for mode in MODES:
        if mode in command.mode:
            for label, text in (functions[mode]() or {}).items():
                print(f'{label:17} {text}', flush=True)
    return 0


def _check_before_work(command, config):
    """Raises UserError for what a later mode would refuse, so that nothing is trained in vain."""
    from drl_tf import evaluate, generate, sweep

    if set(command.mode) & set(_SCORED) or ('train' in command.mode and config.evaluation.evaluate_every):
        evaluate.check_scored(config, command.num_samples or evaluate.NUM_SAMPLES, 'stats' not in command.mode)
    if command.samples:
        evaluate.check_samples(config, command.samples)
    if 'sweep_guidance' in command.mode:
        sweep.check_guidance(config)
    if 'sample' in command.mode and command.label >= 0:
        generate.check_classes(config, (command.label,), 'label')
    if 'compose' in command.mode:
        generate.check_classes(config, command.labels, 'labels')


def _resolve(command, values, argv):
    """The configuration and the workdir: from flags to train and where no run is needed, from the workdir otherwise."""
    from drl_tf.data import specs

    needs_run = [mode for mode in command.mode if mode != 'stats' and not (mode == 'evaluate' and command.samples)]
    if 'train' in command.mode or not (needs_run or command.workdir):
        values = _with_presets(values, argv)
        config = _config(values, specs.resolve(_group(configuration.Data, values)))
        data = config.data
        return config, command.workdir or os.path.join('runs', f'{data.dataset}_{data.image_size}_{config.diffusion.recipe}')
    if not command.workdir:
        raise UserError(f'--mode={",".join(needs_run)} needs --workdir, the directory of a trained run')
    stored = configuration.load(command.workdir)
    config = stored.replace(**{field.name: _value(field, values) for field, _ in stored.options() if values[field.name].present})
    if not values['stats_file'].present and ('stats' in command.mode or values['num_real'].present):
        config = config.replace(stats_file='')
    config = dataclasses.replace(config, data=specs.resolve(config.data))
    differences = config.differences(stored, lambda field: field.metadata['changes'] == 'never')
    if differences:
        raise UserError(f'--workdir={command.workdir} was trained otherwise: {"; ".join(differences)}; drop these flags')
    return config, command.workdir


def _with_presets(values, argv):
    """Parses again with the presets before the command line: recipe, dataset, dataset and image size, dataset and recipe."""
    from drl_tf.data import specs

    for group in (configuration.Data, configuration.Diffusion):
        configuration.check(_group(group, values))
    dataset = specs.find_spec(values.dataset).presets or values.dataset
    values = _parse(argv, _existing(dataset))
    size = specs.resolve(_group(configuration.Data, values)).image_size
    return _parse(argv, _existing(f'recipe_{values.recipe}', dataset, f'{dataset}_{size}', f'{dataset}_{values.recipe}'))


def _existing(*names):
    """The presets of these names that there are."""
    paths = [_preset_directory() / f'{name}.flags' for name in names]
    return [path for path in paths if path.exists()]


def _preset_directory():
    """`flags/` of the installed package, or of the checkout."""
    package = pathlib.Path(__file__).parent
    return next((path for path in (package / 'flags', package.parent / 'flags') if path.is_dir()), package / 'flags')


def _parse(argv, files=()):
    """Parses flagfiles, then the command line, into fresh absl flags."""
    values = flags.FlagValues()
    for group in _option_groups():
        for field in dataclasses.fields(group):
            _define(field, group.__doc__, values)
    words = flagfiles.expand([*(f'--flagfile={path}' for path in files), *argv[1:]])
    _check_words(words, values)
    try:
        rest = values([argv[0], *words])
    except ValueError as error:
        raise UserError(str(error)) from error
    if len(rest) > 1:
        raise UserError(f'unexpected argument {rest[1]!r}: every option is --name=value')
    return values


def _check_words(words, values):
    """Raises UserError for names that are none, and for an option that would take the next one for its value."""
    for word, following in itertools.pairwise([*words, '--']):
        name, equals, _ = word.lstrip('-').partition('=')
        if not word.startswith('-') or not name:
            continue
        if len(name) > _LONGEST_NAME or name == 'undefok':
            raise UserError(f'--{name[:_LONGEST_NAME]} is no option: see --help')
        if not equals and name in values and not values[name].boolean and following.startswith('--'):
            raise UserError(f'--{name} has no value: every option is --name=value')


def _define(field, group, values):
    kinds = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    define = kinds.get(field.type, flags.DEFINE_list)
    default = list(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    define(field.name, default, field.metadata['help'], flag_values=values, module_name=group)


def _option_groups():
    return [Command, cluster.Devices, *(group.type for group in configuration.groups())]


def _value(field, values):
    value = values[field.name].value
    if not isinstance(value, list):
        return value
    kind = typing.get_args(field.type)[0]
    try:
        return tuple(kind(number) for number in value)
    except ValueError as error:
        raise UserError(f'--{field.name}={",".join(value)} must be {_NAMES[field.type]}, comma-separated') from error


def _group(group, values):
    return group(**{field.name: _value(field, values) for field in dataclasses.fields(group)})


def _config(values, data):
    parts = {group.name: _group(group.type, values) for group in configuration.groups()}
    return configuration.Config(**{**parts, 'data': data})


def _print_dry_run(config):
    from drl_tf import devices
    from drl_tf.cost import cost

    print(json.dumps(dataclasses.asdict(config), indent=2))
    print(f'network arithmetic here: {devices.resolve_precision(config.training.precision)}')
    for label, number in cost(config).items():
        print(f'{label}: {number:,}')


def help_text():
    """All options by group, with type, bounds and default."""
    lines = [_INTRODUCTION]
    for group in _option_groups():
        lines += ['', f'{group.__doc__}:']
        for field in dataclasses.fields(group):
            lines += [f'  --{field.name}  ({_kind(field)})', f'      {field.metadata["help"]}']
    return '\n'.join(lines)


def _kind(field):
    """For example 'whole number, 1 to 500; default 6'."""
    metadata, default = field.metadata, field.default
    kind = ' | '.join(map(str, metadata['choices'])) if metadata['choices'] else _NAMES[field.type]
    low, high = metadata['low'], metadata['high']
    if low is not None:
        kind += f', {low} to {high}' if high is not None else f', at least {low}'
    return f'{kind}; default {configuration.text(default)}' if default != '' else kind
