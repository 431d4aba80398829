"""Flagfiles: `--flagfile=FILE` on a command line, or on a line of another flagfile, stands for the options in
the file."""

import os
import re

from drl_tf.base.errors import UserError

MAX_BYTES, MAX_FILES = 2**20, 100


def expand(words):
    """Puts the lines of flagfiles, but for blank ones and comments (# or //), in the place of
    `--flagfile=FILE`.

    Args:
      words: a command line without the program's name.

    Returns:
      A list of words without flagfiles.

    Raises:
      UserError: a flagfile cannot be read, is no UTF-8 text, is longer than `MAX_BYTES`, holds words that are
        no options or reads itself, or more than `MAX_FILES` are read in all.
    """
    return _expand(words, (), [])


def _expand(words, above, read):
    """As `expand`, within the files `above`; `read` lists all that were read so far."""
    words, result = iter(words), []
    for word in words:
        name, _, path = word.partition('=')
        if name not in ('--flagfile', '-flagfile'):
            result.append(word)
            continue
        path = os.path.expanduser((path if '=' in word else next(words, '')).strip())
        real = os.path.realpath(path) if path and '\0' not in path else None
        if real in above:
            raise UserError(
                f'--flagfile={path} reads itself ({" > ".join([*above, real])}): take that line out'
            )
        read.append(path)
        if len(read) > MAX_FILES:
            raise UserError(
                f'--flagfile={path} is one of more than {MAX_FILES}, counted each time that it is read: '
                'give fewer'
            )
        result += _expand(_lines(path), (*above, real), read)
    return result


def _lines(path):
    """The options in a file, one a line."""
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
            f'--flagfile={path} has the line {wrong[:100]!r}: every line must be --name=value, or a comment '
            '(#)'
        )
    return lines
