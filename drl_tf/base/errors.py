"""The ways in which a run ends before its work is done, each with a message for the user and an exit code."""

import re

_GRAPH_NODES = re.compile(r'(\[\[)?\{\{(function_)?node [^}]*\}\}(\]\])?|\[Op:[^\]]*\]( name:)?')


class UserError(Exception):
    """Something the user can put right: one line naming the thing, its value and what to do; breaks of lines
    become spaces."""

    exit_code = 2

    def __init__(self, message):
        super().__init__(' '.join(str(message).splitlines()))


class DivergenceError(Exception):
    """A loss, gradient or weight is not finite, or the loss ran away: the message names the step and gives
    advice.

    Args:
      message: one line.
      step: where it was seen.
    """

    exit_code = 3

    def __init__(self, message, step):
        super().__init__(message)
        self.step = step


class Interrupted(Exception):
    """A signal ended the run, after it saved what there was.

    Args:
      message: one line, which says how to go on where there is something to go on with.
      number: the signal; the exit code is 128 + number, as in shells.
    """

    def __init__(self, message, number):
        super().__init__(message)
        self.exit_code = 128 + number


class WorkerLost(Exception):
    """Another worker of the run ended or cannot be reached: the message says how to go on."""

    exit_code = 4


def one_line(error):
    """Kind and message of another library's error in one line of at most 300 characters, without the nodes of
    TensorFlow's graphs."""
    return ' '.join(_GRAPH_NODES.sub('', f'{type(error).__name__}: {error}').split())[:300]


def printable(text):
    """A text that may hold a file name which is not UTF-8, with escapes for what cannot be written."""
    return str(text).encode('utf-8', 'backslashreplace').decode('utf-8')
