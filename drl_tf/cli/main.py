"""The entry point of the command line."""

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence

from absl import flags

from drl_tf import __version__
from drl_tf.base.errors import DivergenceError, Interrupted, UserError, WorkerLost, printable
from drl_tf.cli import cpu_split, parsing
from drl_tf.cli.checks import check_command, check_configuration, check_given
from drl_tf.cli.command_options import Command, completed
from drl_tf.cli.help import INTERRUPTED, WRONG_USE, help_text
from drl_tf.cli.quiet import quiet_start
from drl_tf.config import option_fields
from drl_tf.distributed import cluster

_LONGEST_LINE = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line, and returns the exit code of the process: 0 if all modes finished.

    Expected errors, such as a wrong option, are printed as one line on stderr, and give another exit code.

    Args:
      argv: the program's name and its options; None: `sys.argv`.

    Example:
      main(['run.py', '--dataset=digits', '--max_minutes=5'])
    """
    argv = sys.argv if argv is None else argv
    atexit.register(gc.freeze)  # Skips the last garbage collection, which takes seconds.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    logging.getLogger('tensorflow').setLevel('ERROR')
    try:
        code = _run(['--help' if word == '-h' else word for word in argv])
        sys.stdout.flush()
        return code
    except (UserError, DivergenceError, Interrupted, WorkerLost) as error:
        return _fail(error, error.exit_code)
    except BrokenPipeError:
        return _closed()
    except (flags.Error, OSError) as error:
        return _fail(error, WRONG_USE)
    except KeyboardInterrupt:
        return _fail('interrupted', INTERRUPTED)


def _closed() -> int:
    """Returns the exit code if stdout was closed, as in `--help | head`; prevents Python's error message."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout when it exits.
    return 128 + signal.SIGPIPE


def _fail(error: Exception | str, code: int) -> int:
    line = printable(' '.join(str(error).split()))
    if len(line) > _LONGEST_LINE:
        line = f'{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 2 :]}'
    print(f'error: {line}', file=sys.stderr)
    return code


def _run(argv: list[str]) -> int:
    values = parsing.parse(argv)
    if values.help:
        print(help_text())
        return 0
    if values.version:
        print(f'drl_tf {__version__}')
        return 0
    command = completed(parsing.group_of(Command, values))
    devices = parsing.group_of(cluster.Devices, values)
    option_fields.check(command)
    option_fields.check(devices)
    given = {name: values[name].value for name in values if values[name].present}
    check_command(command, given)
    cluster.chosen(devices)
    config, workdir = parsing.resolve(command, values, argv)
    splits = cpu_split.splits(command, config, devices)
    if not command.dry_run:
        check_given(command, config, given)
    if not command.dry_run and cluster.workers().count == 1:
        check_configuration(command, config, workdir)
    quiet_start()
    if command.dry_run:
        from drl_tf.planning import dry_run

        dry_run.show(config, devices, command.dry_run_devices, as_json=command.dry_run == 'json')
        return 0
    from drl_tf.cli import run_modes  # Imports TensorFlow.

    run_modes.run(command, config, workdir, devices, splits)
    return 0
