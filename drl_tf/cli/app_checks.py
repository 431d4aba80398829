"""Checks options of --mode=app, without TensorFlow."""

import importlib.util
import socket

from drl_tf.app.limits import HOST
from drl_tf.base.errors import UserError
from drl_tf.cli.command_options import Command
from drl_tf.distributed import cluster


def check_configuration(command: Command) -> None:
    """Checks that --mode=app can start; does nothing if the command has only other modes.

    Raises:
      UserError: Gradio is missing, or the port is taken.
    """
    if 'app' not in command.mode:
        return
    if importlib.util.find_spec('gradio') is None:
        raise UserError("--mode=app needs Gradio: pip install 'drl_tf[app]'")
    if cluster.workers().index:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, command.port))
        except OSError as error:
            reason = error.strerror
            raise UserError(f'--port={command.port} cannot be used ({reason}): give another') from error
