"""Files that appear under their name only when they are whole, and directories that one run at a time has."""

import contextlib
import fcntl
import os

from drl_tf.errors import UserError

LOCK = '.lock'


@contextlib.contextmanager
def written_aside(path, mode='w'):
    """Opens a file beside `path`, in a directory made where need be, and renames it to `path` once all is written.

    Args:
      path: the file.
      mode: 'w' for UTF-8 text, 'wb' for bytes.

    Yields:
      The open file.
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    aside = f'{path}.writing'
    try:
        with open(aside, mode, encoding=None if 'b' in mode else 'utf-8', newline=None if 'b' in mode else '') as file:
            yield file
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(aside)


def sync(path):
    """Has a file, or the names within a directory, on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(directory):
    """Keeps a directory, made where need be, for this process alone; the hold ends with the process, however it ends.

    Raises:
      UserError: another process holds it.
    """
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, LOCK), 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f'--workdir={directory} is in use by another run: wait for its end, or give another --workdir') from error
        yield
