"""Files that appear under their name only when they are whole."""

import contextlib
import os


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
