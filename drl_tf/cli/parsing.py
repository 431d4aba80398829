"""From flags to what is asked for, a `Command`, `cluster.Devices` and a `Config`: the only file that reads
flags."""

import dataclasses
import difflib
import itertools
import os
import pathlib
import typing

from absl import flags

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.cli import flagfiles
from drl_tf.cli.command_options import Command
from drl_tf.config import config as configuration
from drl_tf.config import option_fields
from drl_tf.distributed import cluster

_LONGEST_NAME = 100
_FULL = {
    f'{dashes}{word}': f'--dry_run={kind}'
    for dashes in ('-', '--')
    for word, kind in (
        ('dry_run', 'text'), ('dry_run=true', 'text'), ('nodry_run', ''), ('dry_run=false', ''),
    )
}  # fmt: skip
_GUESSED = {
    'train_steps': 'steps num_steps max_steps iterations epochs num_epochs',
    'learning_rate': 'lr',
    'batch_size': 'bs batch',
    'strategy': 'gpu gpus num_gpus device devices',
    'image_size': 'size resolution',
    'num_samples': 'n',
    'mcmc_steps': 'langevin_steps',
    'num_classes': 'classes',
    'labels': 'label class',
    'precision': 'dtype fp16 bf16 mixed_precision',
    'workdir': 'logdir log_dir model_dir checkpoint resume',
    'dataset': 'data',
    'ema_decay': 'ema',
    'guidance': 'w guidance_scale',
}  # Names that other programs have for an option.


def configuration_of(words):
    """The `Config` that the options of a command line that trains stand for, presets included; raises
    UserError as `main` prints it."""
    argv = ['run.py', *words]
    values = parse(argv)
    return resolve(group_of(Command, values), values, argv)[0]


def resolve(command, values, argv):
    """The configuration and the workdir: from flags where a run begins or none is needed, else from a run.

    Training in a workdir that holds a run goes on with its configuration where no dataset is given.

    Args:
      command: a `Command`.
      values: the parsed flags.
      argv: the command line.

    Returns:
      A `Config` and a directory.

    Raises:
      UserError: there is no such run or model, or it was trained with other options.
    """
    if 'import_official' in command.mode:
        return _begun(command, *_with_network(command, values, argv))
    trains = 'train' in command.mode and not _goes_on(command, values)
    if 'ablate' in command.mode or trains or not (modes_of_a_run(command) or command.workdir):
        return _begun(command, values, argv)
    return _stored(command, values)


def modes_of_a_run(command):
    """The modes that need a trained run, or begin one."""
    return [mode for mode in command.mode if mode != 'stats' and not (mode == 'evaluate' and command.samples)]


def _goes_on(command, values):
    """Whether training takes its configuration from the run that is in the workdir."""
    return not (command.restart or values['dataset'].present) and _holds_run(command.workdir)


def _begun(command, values, argv):
    """The configuration that flags and presets give, and the workdir, by default `runs/<what it is>`."""
    from drl_tf.data import dataset_table

    values = with_presets(values, argv)
    config = _config(values, dataset_table.resolve(group_of(configuration.Data, values)))
    kind = 'ablation' if 'ablate' in command.mode else config.diffusion.recipe
    name = f'{config.data.dataset}_{config.data.image_size}_{kind}'
    return config, command.workdir or os.path.join('runs', name)


def _stored(command, values):
    """The configuration of the run in the workdir, or of --model, with the flags that may differ from it."""
    from drl_tf.data import dataset_table
    from drl_tf.runs import exported

    version = exported.find(command.model) if command.model else None
    if not (command.workdir or version):
        raise UserError(
            f'--mode={",".join(modes_of_a_run(command))} needs --workdir, the directory of a trained run, or '
            '--model'
        )
    workdir = command.workdir or os.path.join('runs', f'model_{exported.name_of(version)}')
    stored = exported.load_config(version) if version else configuration.load(workdir)
    config = stored.replace(
        **{field.name: _value(field, values) for field, _ in stored.options() if values[field.name].present}
    )
    if not values['stats_file'].present and ('stats' in command.mode or values['num_real'].present):
        config = config.replace(stats_file='')
    config = dataclasses.replace(config, data=dataset_table.resolve(config.data))
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
    argv = [*argv, *(f'--{name}={option_fields.text(value)}' for name, value in found.items())]
    return parse(argv), argv


def with_presets(values, argv):
    """Parses again with the presets before the command line: recipe, dataset, dataset and image size, dataset
    and recipe."""
    from drl_tf.data import dataset_table

    for group in (configuration.Data, configuration.Diffusion):
        option_fields.check(group_of(group, values))
    dataset = dataset_table.find_spec(values.dataset).presets or values.dataset
    values = parse(argv, _existing(dataset))
    size = dataset_table.resolve(group_of(configuration.Data, values)).image_size
    return parse(
        argv, _existing(f'recipe_{values.recipe}', dataset, f'{dataset}_{size}', f'{dataset}_{values.recipe}')
    )


def _existing(*names):
    """The presets of these names that there are."""
    paths = [preset_directory() / f'{name}.flags' for name in names]
    return [path for path in paths if path.exists()]


def preset_directory():
    """`flags/`, which the package has as `drl_tf/flags`."""
    return pathlib.Path(drl_tf.__file__).parent / 'flags'


def parse(argv, files=()):
    """Parses flagfiles, then the command line, into fresh absl flags."""
    values = flags.FlagValues()
    for group in option_groups():
        for field in dataclasses.fields(group):
            _define(field, group.__doc__, values)
    words = flagfiles.expand([*(f'--flagfile={path}' for path in files), *argv[1:]])
    words = [_FULL.get(word, word) for word in words]
    _check_words(words, values)
    try:
        rest = values([argv[0], *words])
    except ValueError as error:
        raise UserError(str(error)) from error
    if len(rest) > 1:
        raise UserError(f'unexpected argument {rest[1]!r}: every option is --name=value')
    return values


def _check_words(words, values):
    """Raises UserError for unknown options, and for an option that would take the next one for its value."""
    words = itertools.pairwise([*words, '--'])
    for word, following in words:
        name, equals, _ = word.lstrip('-').partition('=')
        if not word.startswith('-') or not name:
            continue
        is_off = name.startswith('no') and name[2:] in values and values[name[2:]].boolean
        if name not in values and not is_off:
            raise UserError(f'unknown option --{name[:_LONGEST_NAME]}{_meant(name, values)}')
        if not equals and not is_off and not values[name].boolean:
            if following.startswith('--'):
                raise UserError(f'--{name} has no value: every option is --name=value')
            next(words, None)  # Its value.


def _meant(name, values):
    """What may have been meant by an option that there is not."""
    plain = name.replace('-', '_').lower()[:_LONGEST_NAME]
    guessed = [option for option, names in _GUESSED.items() if plain in names.split()]
    exact = [plain] if plain in values else []
    close = [*guessed, *exact, *difflib.get_close_matches(plain, list(values), n=1)]
    return f', did you mean --{close[0]}?' if close else ': see --help'


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


def option_groups():
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
            f'--{field.name}={",".join(value)} must be {option_fields.NAMES[field.type]}, comma-separated'
        ) from error


def group_of(group, values):
    return group(**{field.name: _value(field, values) for field in dataclasses.fields(group)})


def _config(values, data):
    parts = {group.name: group_of(group.type, values) for group in configuration.groups()}
    return configuration.Config(**{**parts, 'data': data})
