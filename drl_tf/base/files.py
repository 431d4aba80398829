"""Writes files atomically, and locks directories for one process."""

import contextlib
import ctypes
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Container, Iterator
from typing import IO, Any

import numpy as np

from drl_tf.base.errors import UserError

LOCK = '.lock'
WRITING = '.writing'
_AT_THE_WORKING_DIRECTORY, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux.
REMOTE = '://'  # Marks paths that only TensorFlow can read, such as gs://bucket/file.


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str], mode: str = 'w') -> Iterator[IO[Any]]:
    """Context manager that writes a file atomically: to a temporary file first, which is then renamed.

    Missing directories are created. If the block raises, an existing file at `path` stays as it was.

    Args:
      path: the file to write.
      mode: 'w' for UTF-8 text, 'wb' for bytes.

    Yields:
      The open file.

    Raises:
      OSError: writing failed; the error names `path`.

    Example:
      with written_aside('a.json') as file:
          json.dump(value, file)
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    aside = f'{os.fspath(path)}{WRITING}'
    is_binary = 'b' in mode
    encoding = None if is_binary else 'utf-8'
    newline = None if is_binary else ''
    try:
        with named(path), open(aside, mode, encoding=encoding, newline=newline) as file:
            yield file
        os.replace(aside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(aside)


@contextlib.contextmanager
def directory_written_aside(directory: str | os.PathLike[str], replaced: Container[str]) -> Iterator[str]:
    """Context manager that replaces a directory by a new one, in one step when the block ends.

    Even if the process is killed, `directory` is the former directory or the new one, and complete. On file
    systems that cannot exchange two directories at once, it is missing for a moment. If the block raises, it
    stays as it was.

    Args:
      directory: the directory to replace; it may be missing.
      replaced: names of the former files to drop. All other former files are copied into the new directory
        when the block ends. They overwrite files of the same name that the block has written.

    Yields:
      The path of the new directory, into which the block writes.

    Raises:
      OSError: writing failed.
    """
    target = os.fspath(directory)
    aside = f'{target}.{os.getpid()}{WRITING}'
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    try:
        yield aside
        if not os.path.isdir(target):
            os.rename(aside, target)
        else:
            shutil.copytree(
                target, aside, ignore=lambda _, names: [name for name in names if name in replaced],
                dirs_exist_ok=True,
            )  # fmt: skip
            _exchange(aside, target)
        sync(os.path.dirname(os.path.abspath(target)))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: str, other: str) -> None:
    """Exchanges two directories, at once if the file system can do so."""
    try:
        paths = (_AT_THE_WORKING_DIRECTORY, os.fsencode(one), _AT_THE_WORKING_DIRECTORY, os.fsencode(other))
        if not ctypes.CDLL(None).renameat2(*paths, _EXCHANGE):
            return
    except AttributeError:  # The C library is too old.
        pass
    former = f'{other}.former{WRITING}'
    os.rename(other, former)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(former, other)
        raise
    os.rename(former, one)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a value to a JSON file atomically: a reader finds the former file or the whole new one."""
    with written_aside(path) as file:
        json.dump(value, file, indent=2)


def read_json(path: str | os.PathLike[str], kind: type = dict) -> Any:
    """Reads a JSON file, and checks the type of its value.

    Args:
      path: the file.
      kind: the required Python type of the value, such as dict or list.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is damaged, or its value has another type.
    """
    with open(path, encoding='utf-8') as file:
        return parse_json(file.read(), kind)


def parse_json(text: str | bytes, kind: type = dict) -> Any:
    """Parses JSON, and checks the type of its value.

    Args:
      text: the JSON.
      kind: the required Python type of the value, such as dict or list.

    Raises:
      ValueError: the text is no JSON, or its value has another type.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError('it nests too deeply') from error
    if not isinstance(value, kind):
        raise ValueError(f'it holds a {type(value).__name__}, not a {kind.__name__}')
    return value


def read_sound_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON file that holds an object; returns {} if the file is missing or damaged."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def digest(text: str) -> str:
    """Returns six hexadecimal digits of the SHA-256 of a text, for use in a file name."""
    return hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:6]


def array_digest(*arrays: np.ndarray) -> str:
    """Returns a SHA-256 of arrays, of their shapes and values.

    Examples:
      >>> array_digest(np.zeros(2)) == array_digest(np.zeros(2)) != array_digest(np.zeros(3))
      True
    """
    found = hashlib.sha256()
    for array in arrays:
        found.update(f'{array.dtype} {array.shape}'.encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Context manager that adds `path` to an `OSError` that names no file, as when `file.write` fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def check_writable(directory: str | os.PathLike[str], flag: str = '') -> None:
    """Checks that files can be written to a directory, without creating the directory.

    Args:
      directory: the directory; if it is missing, its nearest existing parent is checked.
      flag: the option that gave the directory, such as '--workdir', for the message; '': none.

    Raises:
      UserError: the directory cannot be written to.
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
            f'{asked} cannot be written to ({error.strerror}): fix that, or give another directory'
        ) from error


def sync(path: str | os.PathLike[str]) -> None:
    """Flushes a file, or the entries of a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(directory: str | os.PathLike[str], flag: str = '--workdir') -> Iterator[None]:
    """Context manager that locks a directory for this process, and creates it if it is missing.

    The lock ends with the block, or with the process if it is killed. If the block raises before it has
    written a file, the lock file is removed, and so is a directory that this call created.

    Args:
      directory: the directory.
      flag: the option that gave the directory, for the message.

    Raises:
      UserError: another process holds the lock.
    """
    is_new = not os.path.isdir(directory)
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, LOCK), 'w', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # Another run failed, and removed this file meanwhile.
                raise BlockingIOError
        except BlockingIOError as error:
            raise UserError(
                f'{directory} is in use by another run: wait until it ends, or give another {flag}'
            ) from error
        try:
            yield
        except BaseException:
            _remove_lock(directory, is_new)
            raise


def _remove_lock(directory: str | os.PathLike[str], is_new: bool) -> None:
    """Removes the lock file if the directory holds nothing else; then also the directory, if it is new."""
    if os.path.isdir(directory) and os.listdir(directory) == [LOCK]:
        os.remove(os.path.join(directory, LOCK))
        if is_new:
            os.rmdir(directory)


def put_aside(directory: str | os.PathLike[str]) -> str | None:
    """Moves the files in a directory to a new directory beside it, to keep them.

    Lock files and half-written files stay where they are.

    Returns:
      Path of the new directory, `<directory>.1` or the next free number; None if there was nothing to move.
    """
    names = [name for name in os.listdir(directory) if name != LOCK and not name.endswith(WRITING)]
    if not names:
        return None
    root = os.path.abspath(directory)
    candidates = (f'{root}.{number}' for number in itertools.count(1))
    kept = next(path for path in candidates if not os.path.exists(path))
    os.mkdir(kept)
    for name in names:
        os.rename(os.path.join(directory, name), os.path.join(kept, name))
    return kept
