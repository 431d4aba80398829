"""The errors that end a run. Each has a message for the user, and an exit code."""

import re

_GRAPH_NODES = re.compile(r'(\[\[)?\{\{(function_)?node [^}]*\}\}(\]\])?|\[Op:[^\]]*\]( name:)?')


class UserError(Exception):
    r"""An error that the user can fix.

    The message says in one line what is wrong and how to mend it. Line breaks become spaces.

    Examples:
      >>> str(UserError('no such file:\nsee --help'))
      'no such file: see --help'
    """

    exit_code = 2

    def __init__(self, message: object) -> None:
        super().__init__(' '.join(str(message).splitlines()))


class NotFinite(UserError):
    """Samples are not finite, because the chain steps or the guidance are too large for the model's energies.

    Examples:
      >>> issubclass(NotFinite, UserError)
      True
    """


class DivergenceError(Exception):
    """Training diverged: a loss, gradient or weight is not finite, or the loss exceeds its limit.

    Args:
      message: one line with the step and advice.
      step: the training step that diverged.

    Examples:
      >>> DivergenceError('the loss is nan', step=7).step
      7
    """

    exit_code = 3

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class Interrupted(Exception):
    """A signal ended the run; the run saved its state first.

    Args:
      message: one line that says how to resume.
      number: number of the signal; the exit code is 128 + number, as in shells.

    Examples:
      >>> Interrupted('SIGTERM at step 7', number=15).exit_code
      143
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class WorkerLost(Exception):
    """Another worker of the run ended or cannot be reached; the message says how to resume.

    Examples:
      >>> WorkerLost('worker 1 ended').exit_code
      4
    """

    exit_code = 4


def one_line(error: BaseException) -> str:
    """Describes any error in one line: its type and message, at most 300 characters.

    Names of TensorFlow graph nodes are left out.

    Examples:
      >>> one_line(ValueError('{{node while/conv}} bad shape'))
      'ValueError: bad shape'
    """
    return ' '.join(_GRAPH_NODES.sub('', f'{type(error).__name__}: {error}').split())[:300]


def printable(text: object) -> str:
    r"""Makes any text printable as UTF-8: bytes that are not UTF-8, as in some file names, are escaped.

    Examples:
      >>> printable('caf\udce9')
      'caf\\udce9'
    """
    return str(text).encode('utf-8', 'backslashreplace').decode('utf-8')
