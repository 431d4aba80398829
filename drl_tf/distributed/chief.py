"""Work of the chief, the first worker of a run, which alone reads and writes the files of the run.

All workers must call these functions at the same point. With a single worker, they do nothing special.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from drl_tf.base import files
from drl_tf.base.errors import UserError
from drl_tf.distributed import cluster, workers

_Arguments = ParamSpec('_Arguments')
_Result = TypeVar('_Result')


def only(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorator: all workers call the function together; the chief alone runs it, and all get its result.

    If it raises UserError, DivergenceError, Interrupted or OSError, all workers raise an error.

    Args:
      function: callable whose result is a JSON value. With several workers, a tuple comes back as a list.

    Example:
      steps = only(workdirs.steps)('runs/digits')
    """

    @functools.wraps(function)
    def call(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> Any:
        result = run(lambda: function(*arguments, **named))
        return workers.exchange(result)[0] if workers.count() > 1 else result

    return call


def run(function: Callable[[], Any]) -> Any:
    """Calls a function on the chief only, as `only` does; returns its result there, None on other workers."""

    def alone() -> Any:
        with workers.alone():
            return function()

    if workers.count() == 1:
        return function()
    return workers.everywhere(alone if workers.is_chief() else lambda: None)


def first(function: Callable[[], Any]) -> None:
    """Calls a function on all workers: first on the chief, so that the others find the files it writes."""
    run(function)
    workers.everywhere(lambda: workers.is_chief() or function())


class Proxy:
    """Stands, on all workers, for an object that exists on the chief only.

    All workers must call a method together; the chief runs it, and all get its result (JSON) or an error.

    Args:
      make: callable without arguments that makes the object; it runs on the chief.

    Example:
      files = Proxy(lambda: Run(workdir))
      files.steps()
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._held = run(make)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return only(lambda *arguments, **named: getattr(self._held, method)(*arguments, **named))


@contextlib.contextmanager
def entered(context: contextlib.AbstractContextManager) -> Iterator[Any]:
    """Context manager: enters `context` on the chief only. `as` gives its value there, None elsewhere."""
    with contextlib.ExitStack() as stack:
        yield run(lambda: stack.enter_context(context))


@contextlib.contextmanager
def held(directory: str, flag: str = '--workdir') -> Iterator[None]:
    """Context manager: the chief creates `directory` if it is missing, and locks it against other runs.

    `flag` is the option that names the directory, for messages.

    Raises:
      UserError: another run has locked the directory, or a worker does not see it on its file system.
    """
    with entered(files.held(directory, flag)):
        workers.everywhere(lambda: _check_seen(directory, flag))
        yield


def _check_seen(directory: str, flag: str) -> None:
    if not os.path.exists(os.path.join(directory, files.LOCK)):
        mine = cluster.workers()
        raise UserError(
            f'worker {mine.index} ({mine.addresses[mine.index]}) does not see {directory} of the chief: '
            f'{flag} must be on a file system that all workers share'
        )
