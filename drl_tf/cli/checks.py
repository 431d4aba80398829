"""Checks a command line before any work starts. Only `check_work` needs TensorFlow."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from drl_tf.base.errors import UserError
from drl_tf.base.files import REMOTE
from drl_tf.cli import app_checks, edit_checks, output_checks, paths, sampler_checks, score_checks
from drl_tf.cli.command_options import MODES, SCORED, Command, labels_of, num_scored
from drl_tf.cli.options_by_mode import READ_BY, SET_BY_ROWS, modes_of_a_run, readers
from drl_tf.config import chains, combinations, objectives
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.config.data_options import LOCAL_PATHS, Data
from drl_tf.config.option_fields import text
from drl_tf.experiments import ablation_rows
from drl_tf.runs import exported, workdirs

_OF_IMAGES = ('prepare', 'stats', 'likelihood', 'score', 'ood', *SCORED)
# Options that stand for nothing if their value is empty, as that of a shell's variable may be.
_NEVER_EMPTY = {
    'samples': 'a path',
    'init_from': 'a run or an exported model',
    'background': 'a run or an exported model',
    'compare': 'directories of runs',
}


def check_command(command: Command, given: dict[str, Any]) -> None:
    """Checks that the modes exist, and that each given option has an effect in one of them.

    Args:
      command: the modes to run and their options; `command.mode` names the modes.
      given: {name: value} of all options that the user gave, those of the configuration included.

    Raises:
      UserError: a mode is unknown, an option has no effect, or two options contradict each other.
    """
    if not command.mode or set(command.mode) - set(MODES):
        unknown = next((mode for mode in command.mode if mode not in MODES), '')
        raise UserError(f'unknown --mode={unknown}: choose from {", ".join(MODES)}')
    if 'ablate' in command.mode:
        _check_ablation(command, given)
    _check_read(command, given)
    sampler_checks.check_command(command)
    edit_checks.check_command(command, given)
    if 'import_official' in command.mode:
        _check_import(command, given)
    if 'prepare' in command.mode and not command.output_dir:
        raise UserError('--mode=prepare needs --output_dir, a new directory for the files')
    if 'model' in given:
        _check_model(command, given)
    for name, what in _NEVER_EMPTY.items():
        if name in given and not given[name]:
            raise UserError(f'--{name}= must be {what}: give one, or drop the option')
    if command.best and 'checkpoint_step' in given:
        raise UserError(f'--best and --checkpoint_step={command.checkpoint_step}: drop one of them')
    if command.dry_run_devices and not command.dry_run:
        raise UserError(f'--dry_run_devices={command.dry_run_devices} is for --dry_run: add that, or drop it')
    for name in paths.LOCAL:
        if REMOTE in given.get(name, ''):
            raise UserError(
                f'--{name}={given[name]} must be a path on this machine: only --data_dir may be remote, such '
                'as gs://bucket'
            )
    _check_numbers(command, given)


def _check_read(command: Command, given: dict[str, Any]) -> None:
    """Raises UserError if none of the modes reads a given option."""
    modes = set(command.mode)
    unread = [name for name in given if name in READ_BY and not modes & set(readers(name, command.samples))]
    of_a_run = [f'--{name}' for name in unread if modes & set(READ_BY[name])]
    if of_a_run:
        raise UserError(
            f'--samples={command.samples} are scored as they are, without a run: drop {", ".join(of_a_run)}'
        )
    for name in unread:
        raise UserError(f'--{name} is for --mode={",".join(READ_BY[name])}, not for {",".join(command.mode)}')
    if 'weights' in given and not command.init_from and not modes & set(READ_BY['weights']) - {'train'}:
        raise UserError(f'--weights={command.weights} is for training with --init_from: add that, or drop it')


def _check_numbers(command: Command, given: dict[str, Any]) -> None:
    """Raises UserError if numbers contradict each other or are too small."""
    if 'num_chains' in given and command.num_chains == 1:
        raise UserError('--num_chains=1 must be 0 or at least 2')
    if 'num_real' in given and given.get('stats_file') and 'stats' not in command.mode:
        raise UserError(
            '--num_real counts real images to read, but --stats_file replaces them: drop one of them'
        )
    if len(set(command.evaluation_seeds)) < len(command.evaluation_seeds):
        raise UserError(f'--evaluation_seeds={text(command.evaluation_seeds)} must be different seeds')
    count = len(labels_of(command))
    if len(command.label_weights) not in (1, count):
        raise UserError(f'--label_weights must be one number, or {count}, one for each of the --labels')
    if set(command.mode) & set(SCORED) and num_scored(command) < 2:
        raise UserError(f'--num_samples={command.num_samples} must be at least 2 to evaluate')


def _check_ablation(command: Command, given: dict[str, Any]) -> None:
    if len(command.mode) > 1:
        raise UserError('--mode=ablate trains runs of its own: give it alone')
    for name in SET_BY_ROWS:
        if name in given:
            value = text(tuple(given[name]) if isinstance(given[name], list) else given[name])
            raise UserError(f'--{name}={value}: --mode=ablate sets it in each of its runs; drop it')


def _check_import(command: Command, given: dict[str, Any]) -> None:
    for name in ('official_checkpoint', 'workdir'):
        if not getattr(command, name):
            raise UserError(f'--mode=import_official needs --{name}')
    others = [f'--{name}' for name in ('init_from', 'model', 'restart') if name in given]
    if others:
        raise UserError(f'--mode=import_official starts a run itself: drop {" and ".join(others)}')
    workdirs.check_no_run(command.workdir, f'--official_checkpoint={command.official_checkpoint}')


def _check_model(command: Command, given: dict[str, Any]) -> None:
    """Raises UserError if an option contradicts --model, an exported model."""
    if not command.model:
        raise UserError('--model= must be a name or a directory')
    if 'train' in command.mode:
        raise UserError(
            f'--model={command.model} cannot be trained: give --init_from={command.model} to start a new run '
            'from its weights'
        )
    unread = [f'--{name}' for name in ('weights', 'checkpoint_step', 'best') if name in given]
    if unread:
        raise UserError(f'--model={command.model} has one set of weights: drop {", ".join(unread)}')


def check_given(command: Command, config: Config, given: Mapping[str, Any]) -> None:
    """Checks options that are read or not by what the configuration says, and the data that are for the app.

    Args:
      command: the modes to run and their options, which `check_command` has checked.
      config: the configuration of the run.
      given: {name: value} of the options on the command line.

    Raises:
      UserError: an option has no effect, or the data are missing or broken.
    """
    sampler_checks.check_given(command, config, given)
    if 'app' in command.mode and set(given) & set(LOCAL_PATHS):
        _check_data(config.data)


def check_configuration(command: Command, config: Config, workdir: str) -> None:
    """Checks that the modes fit the configuration, can read their inputs and can write; without TensorFlow.

    Args:
      command: the modes to run and their options, which `check_command` has checked.
      config: the configuration of the run.
      workdir: the directory of the run.

    Raises:
      UserError: a mode would fail; the message says why.
    """
    modes = set(command.mode)
    _check_points(command, config)
    if modes & {'sample', 'compose', 'sweep_guidance'}:
        _check_classes(command, config)
    if modes & {'likelihood', 'long_run'}:
        _check_energies(command, config)
    if 'train' in modes and (command.restart or not workdirs.steps(workdir)):
        objectives.check_new(config)
    if 'export' in modes:
        combinations.check_exportable(config)
    if 'sweep_chains' in modes:
        chains.check_sweep(config, command.sweep_correctors)
    if 'ablate' in modes:
        ablation_rows.configs_of(config)
    if _scores(command, config) or modes & {'stats', 'ood', 'long_run'}:
        combinations.check_extractor(config.data, config.evaluation.extractor, config.evaluation.inception)
    edit_checks.check_configuration(command, config)
    score_checks.check_configuration(command, config)
    app_checks.check_configuration(command)
    _check_inputs(command, config, workdir)
    output_checks.check_configuration(command, config, workdir)


def _scores(command: Command, config: Config) -> bool:
    """Returns whether any mode compares samples with real images."""
    if set(command.mode) & set(SCORED):
        return True
    return 'train' in command.mode and bool(config.evaluation.evaluate_every)


def _check_points(command: Command, config: Config) -> None:
    """Raises UserError if the data are points of the plane and a mode needs images, or the reverse."""
    refused = [f'--mode={mode}' for mode in command.mode if mode in _OF_IMAGES]
    if 'train' in command.mode and config.evaluation.evaluate_every:
        refused.append('--evaluate_every')
    refused += [f'--{name}' for name in ('extractor', 'inception') if getattr(config.evaluation, name)]
    if config.planar and refused:
        raise UserError(
            f'{refused[0]} is for images, and --dataset={config.data.dataset} has points: see --mode=density'
        )
    if config.planar and command.save_images:
        raise UserError(
            f'--save_images needs images, and --dataset={config.data.dataset} has points: drop it'
        )
    if 'density' in command.mode and not config.planar:
        raise UserError(
            '--mode=density is for points of the plane (--dataset=toy_checkerboard, ..), not for '
            f'{config.data.dataset}'
        )


def _check_classes(command: Command, config: Config) -> None:
    composes = 'compose' in command.mode and not command.expression
    labels = labels_of(command) if composes else command.labels
    combinations.check_classes(config, labels)
    if 'sweep_guidance' in command.mode:
        combinations.check_guidance(config)


def _check_energies(command: Command, config: Config) -> None:
    top = config.diffusion.num_levels - 1
    if 'long_run' in command.mode and any(level > top for level in command.chain_levels):
        raise UserError(
            f'--chain_levels={text(command.chain_levels)} must be from 0 to {top}, one less than --num_levels'
        )
    for mode in {'likelihood', 'long_run'} & set(command.mode):
        combinations.check_energies(config, mode)
    if 'likelihood' in command.mode:
        combinations.check_likelihood(config, command.method)


def _check_inputs(command: Command, config: Config, workdir: str) -> None:
    """Raises UserError if a path that a mode reads is missing, or if the user's own data are broken."""
    stats_file = config.evaluation.stats_file
    read_images = {'train', 'prepare', 'stats', 'likelihood', 'score', 'ood', 'long_run', 'ablate', 'report'}
    if not stats_file:
        read_images |= set(SCORED)
    read = [config.data] if set(command.mode) & read_images else []
    for data in [*read, *edit_checks.data_of_classes(command, config)]:
        _check_data(data)
    if command.samples:
        _check_there('samples', command.samples, os.path.exists, 'a directory, or a .npz or .npy file')
    if stats_file and 'stats' not in command.mode and _scores(command, config):
        _check_there('stats_file', stats_file, os.path.isfile, 'a file that --mode=stats wrote')
    if command.init_from and config.network.energy == 'exact':
        raise UserError(
            f'--init_from={command.init_from} gives weights, and --energy=exact takes images alone: drop one'
        )
    if command.init_from:
        exported.trained(command.init_from, '--init_from')
    for other in command.compare:
        _check_there('compare', other, configuration.exists, 'the directory of a run')
        if os.path.realpath(other) == os.path.realpath(workdir):
            raise UserError(f'--compare={other} is --workdir itself: give other runs')


def _check_data(data: Data) -> None:
    """Raises UserError if the user's own data are missing or broken."""
    from drl_tf.data import dataset_table, facts

    if data.dataset == 'folder' and data.data_dir:
        _check_there('data_dir', data.data_dir, os.path.isdir, 'the directory of your images')
    facts.check(data, dataset_table.find_spec(data.dataset))


def _check_there(name: str, path: str, test: Callable[[str], bool], what: str) -> None:
    if not test(path):
        raise UserError(f'--{name}={path} is not there: it must be {what}')


def check_work(command: Command, config: Config) -> None:
    """Checks the devices, the network that computes features, --stats_file and the files of --samples.

    `command` has the modes to run and their options, which `check_configuration` has checked. `config` is the
    configuration of the run.

    Raises:
      UserError: a mode would fail; the message says why.
    """
    from drl_tf.distributed import devices
    from drl_tf.evaluation import evaluate, evaluator

    if modes_of_a_run(command):
        combinations.check_replicas(config, devices.strategy().num_replicas_in_sync)
    if {'ood', 'long_run'} & set(command.mode) or edit_checks.features(command, config):
        evaluator.check_extractor(config)
    if _scores(command, config):
        evaluator.check_scored(config, num_scored(command), 'stats' not in command.mode)
    if command.samples:
        evaluate.check_samples(config, command.samples)
