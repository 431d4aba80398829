"""Turns the command line into a `Command`, `cluster.Devices` and a `Config`."""

import dataclasses
import itertools
import os
import pathlib
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

import drl_tf
from drl_tf.base.errors import UserError
from drl_tf.cli import flagfiles, paths
from drl_tf.cli.command_options import Command
from drl_tf.cli.options_by_mode import READ_BY, modes_of_a_run
from drl_tf.cli.suggestions import LONGEST_NAME, suggestion
from drl_tf.config import chains, option_fields, tuned
from drl_tf.config import config as configuration
from drl_tf.config.combinations import steps_at_once
from drl_tf.config.config import Config
from drl_tf.config.data_options import Data
from drl_tf.distributed import cluster
from drl_tf.runs import workdirs

# Options with a value that also work without one, as switches.
_SWITCHES = {
    'dry_run': '--dry_run=text',
    'dry_run=true': '--dry_run=text',
    'nodry_run': '--dry_run=',
    'dry_run=false': '--dry_run=',
    'flip': '--flip=yes',
    'flip=true': '--flip=yes',
    'noflip': '--flip=no',
    'flip=false': '--flip=no',
}


def configuration_of(words: Iterable[str]) -> Config:
    """Returns the `Config` that a training command line gives, including its presets.

    Args:
      words: options, without the program's name.

    Raises:
      UserError: an option is unknown or out of bounds, or two options contradict each other.

    Example:
      configuration_of(['--dataset=cifar10', '--recipe=cdrl'])
    """
    argv = ['run.py', *words]
    values = parse(argv)
    return resolve(group_of(Command, values), values, argv)[0]


def resolve(command: Command, values: flags.FlagValues, argv: Sequence[str]) -> tuple[Config, str]:
    """Returns the configuration of a command line, and its workdir (the directory of the run).

    A new run, and modes that use no run, get their configuration from the options and presets. Other modes
    load the configuration stored with the run or --model, and the options on the command line override it.
    --mode=train resumes the run in the workdir; it begins a new run if there is none there, or if --dataset
    or --restart is given.

    Args:
      command: the options that say what to do.
      values: the parsed flags.
      argv: the program's name and its options.

    Raises:
      UserError: there is no such run or model, or an option would change what training has fixed, such as
        the network.
    """
    if 'import_official' in command.mode:
        return _from_flags(command, *_with_network(command, values, argv))
    begins = 'train' in command.mode and not _resumes(command, values)
    if 'ablate' in command.mode or begins or not (modes_of_a_run(command) or command.workdir):
        return _from_flags(command, values, argv)
    return _stored(command, values)


def _resumes(command: Command, values: flags.FlagValues) -> bool:
    """Returns whether training takes its configuration from the run in the workdir."""
    if command.restart or values['dataset'].present or not command.workdir:
        return False
    return workdirs.holds_run(command.workdir)


def _from_flags(command: Command, values: flags.FlagValues, argv: Sequence[str]) -> tuple[Config, str]:
    """Returns the configuration of flags and presets, and the workdir (by default a directory in `runs/`)."""
    from drl_tf.data import dataset_table

    says_at_once = values['steps_per_execution'].present
    values = _with_presets(values, argv)
    if not says_at_once:
        values['steps_per_execution'].value = steps_at_once(values.flag_values_dict())
    config = _config(values, dataset_table.resolve(group_of(Data, values)))
    kind = 'exact' if config.network.energy == 'exact' else config.diffusion.recipe
    kind = 'ablation' if 'ablate' in command.mode else kind
    name = f'{dataset_table.file_name(config.data.dataset)}_{config.data.image_size}_{kind}'
    return config, command.workdir or os.path.join('runs', name)


def _stored(command: Command, values: flags.FlagValues) -> tuple[Config, str]:
    """Returns the stored configuration of the run or --model, changed by the flags, and the workdir."""
    from drl_tf.data import dataset_table
    from drl_tf.runs import exported

    version = exported.find(exported.two_of(command.model)[0]) if command.model else None
    if not (command.workdir or version):
        modes = modes_of_a_run(command)
        or_model = ', or --model' if set(modes) <= set(READ_BY['model']) else ''
        raise UserError(f'--mode={",".join(modes)} needs --workdir, the directory of a trained run{or_model}')
    workdir = command.workdir
    if version and not workdir:
        workdir = os.path.join('runs', f'model_{exported.name_of(version)}')
    stored = exported.load_config(version) if version else configuration.load(workdir)
    fields = [field for field, _ in stored.options()]
    given = _given(fields, values)
    at_once = steps_at_once({field.name: value for field, value in stored.options()} | given)
    config = stored.with_flags(**{'steps_per_execution': at_once, **given})
    if not values['stats_file'].present and ('stats' in command.mode or values['num_real'].present):
        config = config.replace(stats_file='')
    config = dataclasses.replace(config, data=dataset_table.resolve(config.data))
    differences = config.differences(stored, lambda field: _is_fixed(field, stored, command))
    if differences:
        model = version or f'--workdir={workdir}'
        raise UserError(f'{model} was trained with other options: {"; ".join(differences)}; drop these flags')
    chains.check_range(config, stored)
    if command.sampler == 'tuned':
        found = tuned.load(workdir)
        config = config.with_flags(**{name: found[name] for name in found if not values[name].present})
    return config, workdir


def _is_fixed(field: dataclasses.Field[Any], stored: Config, command: Command) -> bool:
    """Returns whether an option must have the value with which the model was trained.

    The noise levels are free in the modes that read --sampler, if the model has energies at all levels. So
    are their ends in sweep_chains, which chooses the number of levels.
    """
    draw = set(READ_BY['sampler']) | ({'sweep_chains'} if field.name != 'num_levels' else set())
    if field.name in chains.FREE_LEVELS and set(command.mode) <= draw and chains.has_any_level(stored):
        return False
    return field.metadata['changes'] == 'never'


def _with_network(
    command: Command, values: flags.FlagValues, argv: Sequence[str]
) -> tuple[flags.FlagValues, list[str]]:
    """Appends the options of the imported network to the command line; returns the flags and the new line."""
    from drl_tf.runs import authors_checkpoint

    fields = [field for group in configuration.groups() for field in dataclasses.fields(group.type)]
    given = _given(fields, values)
    found = authors_checkpoint.options(command.official_checkpoint, command.official_weights, given)
    argv = [*argv, *(f'--{name}={option_fields.text(value)}' for name, value in found.items())]
    return parse(argv), argv


def _with_presets(values: flags.FlagValues, argv: Sequence[str]) -> flags.FlagValues:
    """Returns the flags of a command line with the presets of its dataset and recipe.

    The presets are read in this order, each overriding those before it: recipe; dataset; dataset and image
    size; dataset and recipe; all three. The command line overrides them all.

    Args:
      values: the parsed flags.
      argv: the program's name and its options.
    """
    from drl_tf.data import dataset_table

    for group in (configuration.Data, configuration.Diffusion):
        option_fields.check(group_of(group, values))
    dataset = dataset_table.find_spec(values.dataset).presets or values.dataset
    values = parse(argv, _existing(dataset))
    size = dataset_table.resolve(group_of(Data, values)).image_size
    recipe = values.recipe
    of_dataset = (dataset, f'{dataset}_{size}', f'{dataset}_{recipe}', f'{dataset}_{size}_{recipe}')
    return parse(argv, _existing(f'recipe_{recipe}', *of_dataset))


def _existing(*names: str) -> list[pathlib.Path]:
    """Returns the paths of the presets with these names, if they exist."""
    paths = [preset_directory() / f'{name}.flags' for name in names]
    return [path for path in paths if path.exists()]


def preset_directory() -> pathlib.Path:
    """Returns the path of the directory with the presets, `drl_tf/flags`."""
    return pathlib.Path(drl_tf.__file__).parent / 'flags'


def parse(argv: Sequence[str], files: Iterable[str | os.PathLike[str]] = ()) -> flags.FlagValues:
    """Parses flagfiles and the command line, which overrides the flagfiles, into new absl flags.

    Args:
      argv: the program's name and its options.
      files: paths of flagfiles.

    Raises:
      UserError: an option is unknown, has no value, or has a value of the wrong type.
    """
    values = flags.FlagValues()
    for group in option_groups():
        for field in dataclasses.fields(group):
            _define(field, option_fields.title(group), values)
    words = flagfiles.expand([*(f'--flagfile={os.fspath(path)}' for path in files), *argv[1:]])
    words = [_with_value(word) for word in words]
    _check_words(words, values)
    try:
        rest = values([argv[0], *words])
    except ValueError as error:
        raise UserError(str(error)) from error
    if len(rest) > 1:
        raise UserError(f'unexpected argument {rest[1]!r}: every option is --name=value')
    paths.expand_home(values)
    return values


def _with_value(word: str) -> str:
    """Returns a word of the command line; adds a value if the word is the switch --dry_run or --flip."""
    if not word.startswith('-'):
        return word
    name = word.removeprefix('-').removeprefix('-')
    return _SWITCHES.get(name, word)


def _check_words(words: list[str], values: flags.FlagValues) -> None:
    """Raises UserError for an unknown option, or an option that would take the next option as its value."""
    pairs = itertools.pairwise([*words, '--'])
    for word, following in pairs:
        name, equals, _ = word.lstrip('-').partition('=')
        if not word.startswith('-') or not name:
            continue
        is_off = name.startswith('no') and name[2:] in values and values[name[2:]].boolean
        if name not in values and not is_off:
            raise UserError(f'unknown option --{name[:LONGEST_NAME]}{suggestion(name, values)}')
        if not equals and not is_off and not values[name].boolean:
            if following.startswith('--'):
                raise UserError(f'--{name} has no value: every option is --name=value')
            next(pairs, None)  # Skips the value of the option.


def _define(field: dataclasses.Field, group: str | None, values: flags.FlagValues) -> None:
    kinds: dict[Any, Any] = {
        bool: flags.DEFINE_boolean,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    define = kinds.get(field.type, flags.DEFINE_list)
    default = list(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    define(field.name, default, field.metadata['help'], flag_values=values, module_name=group)


def option_groups() -> list[type]:
    """Returns all dataclasses of options, such as `Command`; each field is an option of the command line."""
    return [Command, cluster.Devices, *(group.type for group in configuration.groups())]


def _value(field: dataclasses.Field, values: flags.FlagValues) -> Any:
    """Returns the value of an option; raises UserError for a list with an element of another type."""
    value = values[field.name].value
    if not isinstance(value, list):
        return value
    kinds: Any = field.type  # Such as tuple[int, ...].
    kind = typing.get_args(kinds)[0]
    try:
        return tuple(kind(number) for number in value)
    except ValueError as error:
        wanted = option_fields.NAMES[kinds]
        raise UserError(f'--{field.name}={",".join(value)} must be {wanted}, comma-separated') from error


def _given(fields: Iterable[dataclasses.Field], values: flags.FlagValues) -> dict[str, Any]:
    """Returns {name: value} of the options that the command line gives."""
    return {field.name: _value(field, values) for field in fields if values[field.name].present}


def group_of(group: type, values: flags.FlagValues) -> Any:
    """Returns an instance of a dataclass of options, with the values of the parsed flags.

    Args:
      group: the dataclass, such as `Command`; each field is an option.
      values: the parsed flags, from `parse`.
    """
    return group(**{field.name: _value(field, values) for field in dataclasses.fields(group)})


def _config(values: flags.FlagValues, data: Data) -> Config:
    parts = {group.name: group_of(group.type, values) for group in configuration.groups()}
    return Config(**{**parts, 'data': data})
