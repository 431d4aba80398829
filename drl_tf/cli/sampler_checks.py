"""Checks of --sampler."""

from drl_tf.base.errors import UserError
from drl_tf.cli.command_options import Command
from drl_tf.cli.options_by_mode import READ_BY


def check_command(command: Command) -> None:
    """Raises UserError if a command has --sampler=tuned and a mode in which it has no effect."""
    readers = READ_BY['sampler']
    others = [mode for mode in command.mode if mode not in readers]
    if command.sampler != 'run' and others:
        raise UserError(
            f'--sampler={command.sampler} is for --mode={",".join(readers)}: run {",".join(others)} in a '
            'command of its own'
        )
