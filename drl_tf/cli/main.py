"""The command line: the only file that reads flags. It makes a `Command` and a `Config` of them, which
`dispatch` runs."""

import dataclasses
import itertools
import logging
import os
import pathlib
import sys
import typing

from absl import flags

import drl_tf
from drl_tf import __version__
from drl_tf.base.errors import DivergenceError, Interrupted, UserError, WorkerLost, printable
from drl_tf.cli import flagfiles
from drl_tf.cli.command import Command
from drl_tf.cli.command import check as check_command
from drl_tf.config import config as configuration
from drl_tf.config import options
from drl_tf.distributed import cluster

_WRONG_USE, _INTERRUPTED = 2, 130
_LONGEST_NAME, _LONGEST_LINE = 100, 2000
_INTRODUCTION = f"""Energy-based models of images by diffusion recovery likelihood, version {__version__}.

  python run.py --dataset=digits                              train (resumes when run again)
  python run.py --mode=sample --workdir=runs/digits_16_cdrl   sample a trained run; also evaluate, export, ...
  python run.py --mode=sample --model=digits                  sample a model that comes with the package
  python run.py --dataset=cifar10 --dry_run                   show configuration and cost, and stop

A switch --name is turned off by --noname; --flagfile=FILE reads options from a file, one a line.
--dataset=X reads those that exist of flags/recipe_<recipe>.flags, flags/X.flags, flags/X_<image_size>.flags
and flags/X_<recipe>.flags. Each overrides those before it and the defaults shown here; the command line wins.
--dry_run shows the result.
Exit codes: 0 done, {_WRONG_USE} wrong use or bad input, {DivergenceError.exit_code} training diverged,
{WorkerLost.exit_code} another worker of the run is gone, 128 + number ended by a signal
({_INTERRUPTED} Ctrl-C, 143 SIGTERM). Training saves first; the same command then goes on."""


def main(argv=None):
    """Runs a command line (`sys.argv` where None) and returns its exit code; errors of use are one line on
    stderr."""
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
        options.check(group)
    check_command(command, {name: values[name].value for name in values if values[name].present})
    cluster.chosen(devices)
    config, workdir = _resolve(command, values, argv)
    if command.dry_run:
        from drl_tf.planning import dry_run

        dry_run.show(config, devices, command.dry_run_devices)
        return 0
    from drl_tf.cli import modes  # Here, since it takes TensorFlow's time.

    modes.run(command, config, workdir, devices)
    return 0


def configuration_of(words):
    """The `Config` that the options of a command line that trains stand for, presets included; raises
    UserError as `main` prints it."""
    argv = ['run.py', *words]
    values = _parse(argv)
    return _resolve(_group(Command, values), values, argv)[0]


def _resolve(command, values, argv):
    """The configuration and the workdir: from flags to begin a run and where none is needed, from the workdir
    otherwise.

    Training in a workdir that holds a run goes on with its configuration where no dataset is given.
    """
    from drl_tf.data import table
    from drl_tf.runs import exported

    imports = 'import_official' in command.mode
    if imports:
        values, argv = _with_network(command, values, argv)
    goes_on = (
        'train' in command.mode
        and not (imports or command.restart or values['dataset'].present)
        and _holds_run(command.workdir)
    )
    needs_run = [
        mode for mode in command.mode if mode != 'stats' and not (mode == 'evaluate' and command.samples)
    ]
    alone = 'ablate' in command.mode
    if imports or alone or ('train' in command.mode and not goes_on) or not (needs_run or command.workdir):
        values = _with_presets(values, argv)
        config = _config(values, table.resolve(_group(configuration.Data, values)))
        data = config.data
        kind = 'ablation' if alone else config.diffusion.recipe
        return config, command.workdir or os.path.join('runs', f'{data.dataset}_{data.image_size}_{kind}')
    version = exported.find(command.model) if command.model else None
    if not (command.workdir or version):
        raise UserError(
            f'--mode={",".join(needs_run)} needs --workdir, the directory of a trained run, or --model'
        )
    workdir = command.workdir or os.path.join('runs', f'model_{exported.name_of(version)}')
    stored = exported.load_config(version) if version else configuration.load(workdir)
    config = stored.replace(
        **{field.name: _value(field, values) for field, _ in stored.options() if values[field.name].present}
    )
    if not values['stats_file'].present and ('stats' in command.mode or values['num_real'].present):
        config = config.replace(stats_file='')
    config = dataclasses.replace(config, data=table.resolve(config.data))
    differences = config.differences(stored, lambda field: field.metadata['changes'] == 'never')
    if differences:
        raise UserError(
            f'{version or f"--workdir={workdir}"} was trained otherwise: {"; ".join(differences)}; drop '
            'these flags'
        )
    return config, workdir


def _holds_run(workdir):
    return bool(workdir) and any(
        os.path.exists(os.path.join(workdir, name)) for name in (configuration.FILE_NAME, 'checkpoints')
    )


def _with_network(command, values, argv):
    """Parses again with the options of the network that is imported at the end of the command line, which is
    returned too."""
    from drl_tf.runs import authors_checkpoint

    fields = [field for group in configuration.groups() for field in dataclasses.fields(group.type)]
    given = {field.name: _value(field, values) for field in fields if values[field.name].present}
    found = authors_checkpoint.options(command.official_checkpoint, command.official_weights, given)
    argv = [*argv, *(f'--{name}={options.text(value)}' for name, value in found.items())]
    return _parse(argv), argv


def _with_presets(values, argv):
    """Parses again with the presets before the command line: recipe, dataset, dataset and image size, dataset
    and recipe."""
    from drl_tf.data import table

    for group in (configuration.Data, configuration.Diffusion):
        options.check(_group(group, values))
    dataset = table.find_spec(values.dataset).presets or values.dataset
    values = _parse(argv, _existing(dataset))
    size = table.resolve(_group(configuration.Data, values)).image_size
    return _parse(
        argv, _existing(f'recipe_{values.recipe}', dataset, f'{dataset}_{size}', f'{dataset}_{values.recipe}')
    )


def _existing(*names):
    """The presets of these names that there are."""
    paths = [_preset_directory() / f'{name}.flags' for name in names]
    return [path for path in paths if path.exists()]


def _preset_directory():
    """`flags/`, which the package has as `drl_tf/flags`."""
    return pathlib.Path(drl_tf.__file__).parent / 'flags'


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
    """Raises UserError for names that are none, and for an option that would take the next one for its
    value."""
    for word, following in itertools.pairwise([*words, '--']):
        name, equals, _ = word.lstrip('-').partition('=')
        if not word.startswith('-') or not name:
            continue
        if len(name) > _LONGEST_NAME or name == 'undefok':
            raise UserError(f'--{name[:_LONGEST_NAME]} is no option: see --help')
        if not equals and name in values and not values[name].boolean and following.startswith('--'):
            raise UserError(f'--{name} has no value: every option is --name=value')


def _define(field, group, values):
    kinds = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
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
        raise UserError(
            f'--{field.name}={",".join(value)} must be {options.NAMES[field.type]}, comma-separated'
        ) from error


def _group(group, values):
    return group(**{field.name: _value(field, values) for field in dataclasses.fields(group)})


def _config(values, data):
    parts = {group.name: _group(group.type, values) for group in configuration.groups()}
    return configuration.Config(**{**parts, 'data': data})


def help_text():
    """All options by group, with type, bounds and default."""
    lines = [_INTRODUCTION]
    for group in _option_groups():
        lines += ['', f'{group.__doc__}:']
        for field in dataclasses.fields(group):
            lines += [f'  --{field.name}  ({options.kind(field)})', f'      {field.metadata["help"]}']
    return '\n'.join(lines)
