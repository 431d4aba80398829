"""Opens LMDB directories (a key-value database, the format of LSUN), and lists their keys."""

import concurrent.futures
import multiprocessing
import os

import lmdb

from drl_tf.base.errors import UserError

_FILE = 'data.mdb'


def file_of(directory: str) -> str:
    """Returns the path of the database file in an LMDB directory (an LMDB is a key-value database)."""
    return os.path.join(directory, _FILE)


def open_to_read(directory: str) -> lmdb.Environment:
    """Opens an LMDB (a key-value database) for reading, without a lock file.

    Args:
      directory: the directory of the LMDB.

    Raises:
      UserError: there is no LMDB, or its file is damaged or cut off.
    """
    path = file_of(directory)
    if not os.path.isfile(path):
        raise UserError(f'{directory} holds no {_FILE}: it must be an LMDB directory')
    if not os.path.getsize(path):
        raise UserError(f'{path} is empty, 0 bytes: unpack it again')
    try:
        database = lmdb.open(directory, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise UserError(f'{path} is damaged ({error}): unpack it again') from error
    needed = (database.info()['last_pgno'] + 1) * database.stat()['psize']
    size = os.path.getsize(path)
    if size < needed:
        database.close()
        raise UserError(f'{path} is cut off: it has {size:,} bytes, {needed:,} are expected; unpack it again')
    return database


def keys(directory: str) -> list[bytes]:
    """Returns all keys of an LMDB (a key-value database), sorted.

    A separate process reads the keys, because a damaged file can crash the process that reads it.

    Raises:
      UserError: there is no LMDB, or it is damaged or empty.
    """
    with _process() as process:
        try:
            found = process.submit(read_keys, directory).result()
        except (lmdb.Error, concurrent.futures.BrokenExecutor) as error:
            raise damaged(directory, error) from error
    if not found:
        raise UserError(f'{file_of(directory)} is empty: unpack it again')
    return found


def damaged(directory: str, error: BaseException) -> UserError:
    """Makes the error that says that an LMDB (a key-value database) is damaged; the caller raises it.

    Args:
      directory: the directory of the LMDB.
      error: the exception of the failed reading, for the message.
    """
    return UserError(f'{file_of(directory)} is damaged ({type(error).__name__}: {error}): unpack it again')


def _process() -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))


def read_keys(directory: str) -> list[bytes]:
    """Returns all keys of an LMDB (a key-value database), sorted; reads them in this process.

    A damaged file can crash the process. The function `keys` avoids this: it calls `read_keys` in a process
    of its own.

    Raises:
      UserError: there is no LMDB, or its file is empty, damaged or cut off.
      lmdb.Error: the file is damaged inside.
    """
    with open_to_read(directory) as database, database.begin() as transaction:
        return list(transaction.cursor().iternext(values=False))
