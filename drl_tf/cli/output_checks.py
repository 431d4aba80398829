"""Checks that modes can write their files, without TensorFlow."""

import os

from drl_tf.base.errors import UserError
from drl_tf.base.files import check_writable
from drl_tf.cli.command_options import TO_OUTPUT_DIR, Command, export_directory, reads_export
from drl_tf.cli.options_by_mode import modes_of_a_run
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.config.sampling_options import STATISTICS
from drl_tf.data.known_datasets import PLACED
from drl_tf.distributed import cluster
from drl_tf.runs import exported, workdirs


def check_configuration(command: Command, config: Config, workdir: str) -> None:
    """Checks that the modes can write to their directories; only the chief (the first worker) does.

    Args:
      command: the modes to run, and the options that say where they write.
      config: the configuration, with the option `stats_file`.
      workdir: the directory of the run.

    Raises:
      UserError: a directory cannot be written to, or a path holds something else already.
    """
    if command.model and (command.workdir or not reads_export(command)):
        exported.check_link(workdir)
    if cluster.workers().index:
        return
    if 'train' in command.mode and not (command.workdir or command.restart):
        _check_same_data(config, workdir)
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


def _check_same_data(config: Config, workdir: str) -> None:
    """Raises UserError if the default workdir holds a run on other data of the user."""
    if config.data.dataset not in PLACED or not workdirs.steps(workdir):
        return
    theirs = configuration.load(workdir).data.data_dir
    if os.path.realpath(theirs) != os.path.realpath(config.data.data_dir):
        raise UserError(
            f'{workdir} holds a run on {theirs}, not on {config.data.data_dir}: give another --workdir for a '
            f'new run, --workdir={workdir} to go on with the old one on these data, or --restart'
        )


def _check_statistics(stats_file: str) -> None:
    """Raises UserError if --mode=stats cannot write its file; '' stands for a file in `statistics/`."""
    if os.path.isdir(stats_file):
        raise UserError(f'--stats_file={stats_file} is a directory: give a file')
    if stats_file:
        check_writable(os.path.dirname(stats_file), '--stats_file')
    else:
        check_writable(STATISTICS, 'the default of --stats_file')
