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
    with _held_back(), _without_collections():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Context manager: no garbage is collected in the block; later collections skip the objects of that time.

    Importing TensorFlow makes about 750,000 objects, which are never freed. Looking through them again and
    again costs `--mode=sample` a second. Nothing changes if TensorFlow is imported already, or if collection
    is off.
    """
    if 'tensorflow' in sys.modules or not gc.isenabled():
        yield
        return
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
