"""Checks that modes can write their files, without TensorFlow."""

import os
import pathlib

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable
from drl_tf.cli.command_options import TO_OUTPUT_DIR, Command, export_directory, reads_export
from drl_tf.cli.options_by_mode import modes_of_a_run
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.config.data_options import Data
from drl_tf.config.sampling_options import STATISTICS
from drl_tf.data.folder import TEST_FOLDERS
from drl_tf.data.known_datasets import PLACED
from drl_tf.distributed import cluster
from drl_tf.experiments import ablation_rows
from drl_tf.runs import exported, workdirs

_BEGIN = {'train', 'import_official', 'ablate'}  # Modes that begin runs, or go on with them.


def check_configuration(command: Command, config: Config, workdir: str) -> None:
    """Checks that the modes can write to their directories; only the chief (the first worker) does.

    Args:
      command: the modes to run, and the options that say where they write.
      config: the configuration, with the option `stats_file`.
      workdir: the directory of the run.

    Raises:
      UserError: a directory cannot be written to, a path holds something else already, or pictures would be
        written among those that the user trains on.
    """
    if command.model and (command.workdir or not reads_export(command)):
        exported.check_link(workdir)
    if cluster.workers().index:
        return
    if 'train' in command.mode and not (command.workdir or command.restart):
        go_on = f'--workdir={workdir} to go on with the old one on these data, or --restart'
        _check_same_data(config, workdir, f'give another --workdir for a new run, {go_on}')
    if 'ablate' in command.mode and not command.workdir:
        for name in ablation_rows.configs_of(config):
            _check_same_data(config, os.path.join(workdir, name), 'give another --workdir for new runs')
    if config.data.dataset == 'folder' and not config.data.labels_file:
        _check_outside_of_pictures(command, config.data.data_dir, workdir)
    if 'prepare' in command.mode and os.path.exists(command.output_dir):
        raise UserError(f'--output_dir={command.output_dir} exists: give a new directory, or remove it')
    to_workdir = set(modes_of_a_run(command)) - {'app'}
    if command.output_dir:
        to_workdir -= set(TO_OUTPUT_DIR)
        check_writable(command.output_dir, '--output_dir')
    if command.export_dir:
        to_workdir -= {'export'}
    if to_workdir:
        check_writable(workdir, '--workdir')
    if 'export' in command.mode:
        check_writable(export_directory(command, workdir), '--export_dir')
    if 'stats' in command.mode:
        _check_statistics(config.evaluation.stats_file)


def _check_same_data(config: Config, workdir: str, remedy: str) -> None:
    """Raises UserError, which ends in `remedy`, if a workdir holds a run on other data of the user."""
    if config.data.dataset not in PLACED or not workdirs.steps(workdir):
        return
    theirs, mine = configuration.load(workdir).data, config.data
    if any(
        os.path.realpath(getattr(theirs, name)) != os.path.realpath(getattr(mine, name))
        for name in ('data_dir', 'labels_file')
    ):
        raise UserError(f'{workdir} holds a run on {_places(theirs)}, not on {_places(mine)}: {remedy}')


def _places(data: Data) -> str:
    return f'{data.data_dir} with --labels_file={data.labels_file}' if data.labels_file else data.data_dir


def _check_outside_of_pictures(command: Command, data_dir: str, workdir: str) -> None:
    """Raises UserError if pictures that the modes write would be found among the user's own pictures.

    A relative `data_dir` of a stored run may mean another directory here, so only modes that read it look at
    it. The reader of a folder leaves out hidden folders, what lies beside the folders of splits, and pictures
    that a --labels_file does not list.
    """
    places = {'--workdir': workdir} if set(command.mode) & _BEGIN else {}
    if command.output_dir and set(command.mode) & set(TO_OUTPUT_DIR) and (places or os.path.isabs(data_dir)):
        places['--output_dir'] = command.output_dir
    pictures = os.path.realpath(data_dir)
    has = {name for name in ('train', *TEST_FOLDERS) if os.path.isdir(os.path.join(pictures, name))}
    splits = has if 'train' in has and len(has) > 1 else None
    for name, place in places.items():
        inside = pathlib.Path(os.path.relpath(os.path.realpath(place), pictures)).parts
        is_hidden = any(part.startswith('.') for part in inside)  # So is what lies outside, in '..'.
        if data_dir and not is_hidden and (splits is None or set(inside[:1]) & splits):
            raise UserError(
                f'{name}={place} is in --data_dir={data_dir}, so that what is drawn there would be trained '
                'on: give a directory elsewhere, and move a run that is there already'
            )


def _check_statistics(stats_file: str) -> None:
    """Raises UserError if --mode=stats cannot write its file; '' stands for a file in `statistics/`."""
    if os.path.isdir(stats_file):
        raise UserError(f'--stats_file={stats_file} is a directory: give a file')
    if stats_file:
        check_writable(os.path.dirname(stats_file), '--stats_file')
    else:
        check_writable(STATISTICS, 'the default of --stats_file')
