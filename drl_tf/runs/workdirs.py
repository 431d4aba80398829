"""Looks for the run that a directory holds, without TensorFlow."""

import os

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration


def checkpoints(workdir: str) -> str:
    """Returns the path of the directory that holds the checkpoints of the run in `workdir`."""
    return os.path.join(workdir, 'checkpoints')


def steps(workdir: str) -> list[int]:
    """Returns the training steps of the checkpoints in `workdir`, ascending; damaged ones are included."""
    if not os.path.isdir(checkpoints(workdir)):
        return []
    return sorted(int(name) for name in os.listdir(checkpoints(workdir)) if name.isdigit())


def holds_run(workdir: str) -> bool:
    """Returns whether a directory holds a `config.json` or a checkpoint.

    An empty folder of checkpoints is no run: a first checkpoint that could not be written leaves it.
    """
    return configuration.exists(workdir) or bool(steps(workdir))


def check_no_run(workdir: str, purpose: str) -> None:
    """Checks that a directory holds no run, so that a new one can begin there.

    Args:
      workdir: the directory; it may be missing.
      purpose: the option that begins the new run, such as '--official_checkpoint=x', for the message.

    Raises:
      UserError: the directory holds a run.
    """
    if holds_run(workdir):
        raise UserError(f'--workdir={workdir} holds a run: give another for {purpose}')
