"""Imports TensorFlow without its messages on stderr."""

import contextlib
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator


def quiet_start() -> None:
    """Imports TensorFlow and lists the devices; prints TensorFlow's messages only if this fails."""
    with _held_back(), contextlib.nullcontext() if gc.get_freeze_count() else _uncollected():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Context manager: collects no garbage in the block, and never looks at its objects later.

    TensorFlow's modules make three quarters of a million objects, which stay. A command takes a second longer
    if each collection looks at them all.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Context manager: holds back stderr, C++'s included; shows the output only if the block raises."""
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
