"""Replaces `--flagfile=FILE` on the command line by the options in the file."""

import os
import re
from collections.abc import Iterable

from drl_tf.base.errors import UserError

MAX_BYTES = 2**20
MAX_FILES = 100


def expand(words: Iterable[str]) -> list[str]:
    """Replaces each `--flagfile=FILE` on a command line by the options in the file.

    A flagfile has one option per line. Blank lines and comments (# or //) are skipped. A line can be another
    --flagfile.

    Args:
      words: the words of a command line, without the program's name.

    Returns:
      The words, with the options of each file in place of its --flagfile.

    Raises:
      UserError: a flagfile cannot be read, is not UTF-8 text, exceeds 1 MiB, has a line that is no option, or
        includes itself; or there are more than 100 flagfiles.
    """
    return _expand(words, (), [])


def _expand(words: Iterable[str], above: tuple[str, ...], read: list[str]) -> list[str]:
    """Expands words that stand in the nested files `above`; appends the path of each file read to `read`."""
    remaining = iter(words)
    result = []
    for word in remaining:
        name, equals, path = word.partition('=')
        if name not in ('--flagfile', '-flagfile'):
            result.append(word)
            continue
        path = path if equals else next(remaining, '')
        path = os.path.expanduser(path.strip())
        real = os.path.realpath(path) if path and '\0' not in path else ''
        if real and real in above:
            raise UserError(
                f'--flagfile={path} reads itself ({" > ".join([*above, real])}): remove that line'
            )
        read.append(path)
        if len(read) > MAX_FILES:
            raise UserError(
                f'--flagfile={path} is one of more than {MAX_FILES} flagfiles (repeated ones count again): '
                'give fewer'
            )
        result += _expand(_lines(path), (*above, real), read)
    return result


def _lines(path: str) -> list[str]:
    """Reads the options in a file, one per line; raises UserError as `expand` says."""
    try:
        with open(path, 'rb') as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f'more than {MAX_BYTES:,} bytes')
        text = content.decode('utf-8')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(
            f'--flagfile={path} cannot be read as text ({reason}): give a file of options, one a line'
        ) from error
    lines = [line.strip() for line in re.split(r'\r\n?|\n', text)]
    lines = [line for line in lines if line and not line.startswith(('#', '//'))]
    wrong = next((line for line in lines if not line.startswith('-')), None)
    if wrong is not None:
        raise UserError(
            f'--flagfile={path} has the line {wrong[:100]!r}: every line must be --name=value or a # comment'
        )
    return lines
