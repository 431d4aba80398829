"""TensorFlow's start without the lines that it writes to stderr about libraries that a CPU does not need."""

import contextlib
import os
import shutil
import sys
import tempfile


def quiet_start():
    """Imports TensorFlow and has it look for devices; shows what it writes meanwhile only if that fails."""
    with _held_back():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _held_back():
    """Sends what goes to file descriptor 2, from C++ too, to a file; replays it where the block raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            file.seek(0)
            with open(2, 'wb', closefd=False) as shown:
                shutil.copyfileobj(file, shown)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
