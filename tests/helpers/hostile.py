"""What the tests of bad input share: how often they try, how they damage files, how they call the command
line."""

import contextlib
import io
import os
import pickle
import shutil

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from drl_tf.cli.main import main


def tries(count):
    """Settings of a property-based test: the same `count` cases in every run, however slow the machine."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, content):
    """`content` with a byte changed, cut off, or bytes put in; never what it was."""
    kind = draw(st.sampled_from(['flip', 'cut', 'insert', 'repeat', 'other']))
    where = draw(st.integers(0, len(content) - 1))
    if kind == 'flip':
        return content[:where] + bytes([content[where] ^ draw(st.integers(1, 255))]) + content[where + 1 :]
    if kind == 'cut':
        return content[:where]
    if kind == 'insert':
        return content[:where] + draw(st.binary(min_size=1, max_size=20)) + content[where:]
    if kind == 'repeat':
        return content + content[where:]
    return draw(st.binary(max_size=200).filter(lambda other: other != content))


class Trap:
    """Once unpickled by anything that runs what a pickle asks for, a directory is there."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def check_trap(path):
    """Shows that a trap closes where a pickle is run, and sets it again."""
    pickle.loads(pickle.dumps(Trap(path)))
    assert os.path.isdir(path)
    shutil.rmtree(path)


def called(*arguments):
    """Exit code and the lines on stderr of a command line; stderr takes sound UTF-8 alone."""
    err = io.TextIOWrapper(io.BytesIO(), 'utf-8', write_through=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main(['run.py', *map(str, arguments)])
    return code, err.buffer.getvalue().decode('utf-8').split('\n')[:-1]


def refusal(code, lines):
    """The one line of a command line that was refused, None where it was taken; anything else is a fault."""
    errors = [line for line in lines if line.startswith('error: ')]
    assert (code, len(errors)) in ((0, 0), (2, 1)), (code, lines)
    assert not any('Traceback' in line or '\r' in line or len(line) > 2100 for line in lines), lines
    return errors[0] if errors else None


def is_typed(field, value):
    """Whether a value is of the type of its option and can be computed with."""
    kind = field.type if isinstance(field.type, type) else field.type.__args__[0]
    parts = value if isinstance(value, tuple) else (value,)
    kinds, largest = {int: ({int}, 2**31 - 1), float: ({int, float}, 3.4e38)}.get(kind, ({kind}, None))
    return all(type(part) in kinds and (largest is None or abs(part) <= largest) for part in parts)
