"""LMDB files of the user: opened for reading, and looked through in a process of their own. Imports no
TensorFlow."""

import concurrent.futures
import multiprocessing
import os

import lmdb

from drl_tf.base.errors import UserError

_FILE = 'data.mdb'


def file_of(directory: str) -> str:
    """The path of the file within an LMDB directory."""
    return os.path.join(directory, _FILE)


def open_to_read(directory: str) -> lmdb.Environment:
    """Opens an LMDB without its lock file and without writing anything.

    Raises:
      UserError: there is no LMDB, or it is cut off (reading beyond its end would end the process).
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
    needed, size = (database.info()['last_pgno'] + 1) * database.stat()['psize'], os.path.getsize(path)
    if size < needed:
        database.close()
        raise UserError(f'{path} is cut off: it has {size:,} bytes, {needed:,} are expected; unpack it again')
    return database


def keys(directory: str) -> list[bytes]:
    """All keys of an LMDB in their order, read in another process: one that meets a damaged page may be ended
    by it.

    Raises:
      UserError: the LMDB is damaged or empty.
    """
    with _process() as process:
        try:
            found = process.submit(read_keys, directory).result()
        except (lmdb.Error, concurrent.futures.BrokenExecutor) as error:
            raise damaged(directory, error) from error
    if not found:
        raise UserError(f'{file_of(directory)} is empty: unpack it again')
    return found


def damaged(directory, error):
    """The UserError for an LMDB that could not be read."""
    return UserError(f'{file_of(directory)} is damaged ({type(error).__name__}: {error}): unpack it again')


def _process():
    return concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))


def read_keys(directory):
    with open_to_read(directory) as database, database.begin() as transaction:
        return list(transaction.cursor().iternext(values=False))
