"""Files that appear under their name only when they are whole, and directories that one run at a time has."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import tempfile

from drl_tf.base.errors import UserError

LOCK, WRITING = '.lock', '.writing'
REMOTE = '://'  # In the names of files that TensorFlow alone can read, such as gs://bucket/file.


@contextlib.contextmanager
def written_aside(path, mode='w'):
    """Opens a file beside `path`, in a directory made where need be, and renames it to `path` once all is
    written.

    Args:
      path: the file.
      mode: 'w' for UTF-8 text, 'wb' for bytes.

    Yields:
      The open file.

    Raises:
      OSError: it could not be written; the error names `path`.
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    aside = f'{path}{WRITING}'
    try:
        with (
            named(path),
            open(
                aside, mode, encoding=None if 'b' in mode else 'utf-8', newline=None if 'b' in mode else ''
            ) as file,
        ):
            yield file
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(aside)


def write_json(path, value):
    """Writes a value as JSON, as `written_aside`."""
    with written_aside(path) as file:
        json.dump(value, file, indent=2)


def read_json(path, kind=dict):
    """The value that a JSON file holds, of type `kind`.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or holds a value of another type.
    """
    with open(path, encoding='utf-8') as file:
        try:
            value = json.load(file)
        except RecursionError as error:
            raise ValueError('it nests too deeply') from error
    if not isinstance(value, kind):
        raise ValueError(f'it holds a {type(value).__name__}, not a {kind.__name__}')
    return value


def digest(text):
    """Six hexadecimal digits for the name of a file, which differ where what decides its contents does."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


@contextlib.contextmanager
def named(path):
    """Has an `OSError` of a file that is being written, which does not say of which, name its path."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def check_writable(directory, flag=''):
    """Checks that files can be written in a directory, or in the nearest one above that there is.

    Args:
      directory: it need not be there, and is not made.
      flag: what asked for it, for the message.

    Raises:
      UserError: they cannot.
    """
    place = os.path.abspath(directory)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b'0')
    except OSError as error:
        asked = f'{flag}={directory}' if flag else directory
        raise UserError(
            f'{asked} cannot be written to ({error.strerror}): put that right, or give another place'
        ) from error


def sync(path):
    """Has a file, or the names within a directory, on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(directory, flag='--workdir'):
    """Keeps a directory, made where need be, for this process alone; the hold ends with the process, however
    it ends. A block that fails before it writes anything there leaves no trace of the hold.

    Raises:
      UserError: another process holds it.
    """
    is_new = not os.path.isdir(directory)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, LOCK), 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # Another run, which failed, has removed it meanwhile.
                raise BlockingIOError
        except BlockingIOError as error:
            raise UserError(
                f'{directory} is in use by another run: wait for its end, or give another {flag}'
            ) from error
        try:
            yield
        except BaseException:
            _forget_hold(directory, is_new)
            raise


def _forget_hold(directory, is_new):
    """Removes the lock of a directory that holds nothing else, and the directory where it is new."""
    if os.path.isdir(directory) and os.listdir(directory) == [LOCK]:
        os.remove(os.path.join(directory, LOCK))
        if is_new:
            os.rmdir(directory)


def put_aside(directory):
    """Moves all that a directory holds, but for the hold on it and files half written, into a new one beside
    it.

    Returns:
      The new directory, `<directory>.1` and so on, or None where there is nothing.
    """
    names = [name for name in os.listdir(directory) if name != LOCK and not name.endswith(WRITING)]
    if not names:
        return None
    root = os.path.abspath(directory)
    kept = next(
        path for path in (f'{root}.{number}' for number in itertools.count(1)) if not os.path.exists(path)
    )
    os.mkdir(kept)
    for name in names:
        os.rename(os.path.join(directory, name), os.path.join(kept, name))
    return kept
