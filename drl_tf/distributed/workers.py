"""What the workers of one run say to each other. All run the same code; the first of them, the chief, alone
writes.

Each function is called by all workers at the same point of the program. With one worker each costs nothing.
"""

import contextlib
import json
import os
import re
import sys

import numpy as np
import tensorflow as tf

from drl_tf.base import files
from drl_tf.base.errors import DivergenceError, Interrupted, UserError, WorkerLost, one_line
from drl_tf.distributed import cluster, devices

_LOST_TPU = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.UnavailableError)
_LOST = (
    *_LOST_TPU,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
CARRIED = (UserError, DivergenceError, Interrupted, OSError)
_by_itself = []


def count():
    """How many workers there are; 1 within what the chief does by itself."""
    is_shared = isinstance(devices.strategy(), tf.distribute.MultiWorkerMirroredStrategy)
    return cluster.workers().count if is_shared and not _by_itself else 1


def is_chief():
    return count() == 1 or cluster.workers().index == 0


def exchange(value):
    """What each worker says, a list in their order; each value is ready for JSON."""
    if count() == 1:
        return [value]
    text = json.dumps(value).encode()
    sizes = _rows(np.float32([len(text)]))[:, 0].astype(int)
    padded = np.zeros(2 ** int(sizes.max()).bit_length(), np.float32)
    padded[: len(text)] = list(text)
    return [
        json.loads(bytes(row[:size].astype(np.uint8))) for row, size in zip(_rows(padded), sizes, strict=True)
    ]


def _rows(mine):
    """The vectors of all workers, float32 [workers, n]."""
    strategy = devices.strategy()
    rows = _gathered(of_each(strategy, [mine[None]]))
    return rows.numpy()[:: strategy.num_replicas_in_sync // count()]


def everywhere(function):
    """What a function returns to this worker; where it fails on any, with one of `CARRIED`, all raise its
    error."""
    if count() == 1:
        return function()
    result = mine = None
    try:
        result = function()
    except CARRIED as error:
        mine = error
    failures = [failure for failure in exchange(_told(mine)) if failure]
    if mine:
        raise mine
    if failures:
        raise _as_error(*failures[0])
    return result


def by_chief(function):
    """What a function returns to the chief, which alone runs it; None elsewhere. Where it fails, all raise
    its error."""

    def alone():
        with _alone(True):
            return function()

    if count() == 1:
        return function()
    return everywhere(alone if is_chief() else lambda: None)


@contextlib.contextmanager
def _alone(is_alone):
    """Context manager: the chief works alone (True) or with all workers."""
    before = list(_by_itself)
    _by_itself[:] = [True] if is_alone else []
    try:
        yield
    finally:
        _by_itself[:] = before


def together():
    """Re-enables collectives inside `by_chief`."""
    return _alone(False)


def told_array(array):
    """The chief's array, uint8, or None, told to all; the others give None."""
    shape = exchange(None if array is None else array.shape)[0]
    if shape is None:
        return None
    strategy, values = devices.strategy(), np.zeros(shape, np.float32) if array is None else np.float32(array)
    mine = [values, *[tf.zeros(shape)] * (strategy.num_replicas_in_sync // count() - 1)]
    return _summed(of_each(strategy, mine)).numpy().astype(np.uint8)


def stacked(array):
    """The arrays of all workers, of one shape [n, ...] and float32, as one [workers n, ...]."""
    return _rows(np.ravel(array)).reshape([-1, *array.shape[1:]])


def told_by_chief(function):
    """What a function, which the chief alone runs, returns, told to all; it is ready for JSON."""
    result = by_chief(function)
    return exchange(result)[0] if count() > 1 else result


class OnChief:
    """An object that the chief alone has: all workers call its methods together, the chief runs them, and all
    get what it returns, which is ready for JSON, or its error.

    Args:
      make: callable that makes the object.
    """

    def __init__(self, make):
        self._held = by_chief(make)

    def __getattr__(self, method):
        return lambda *arguments: told_by_chief(lambda: getattr(self._held, method)(*arguments))


def chief_first(function):
    """Has the chief run a function, then the others, which find done what is done once."""
    by_chief(function)
    everywhere(lambda: is_chief() or function())


def check_alike(*groups):
    """Raises UserError where the options of a worker, dicts ready for JSON, are not the chief's; its own
    places may be."""
    options = json.loads(json.dumps(_flat(groups)))
    chiefs = exchange(options)[0]
    other = [
        f'--{name}={value} here, {chiefs.get(name)} there'
        for name, value in options.items()
        if value != chiefs.get(name)
    ]

    def check():
        if other:
            raise UserError(
                f'worker {cluster.workers().index} has other options than the chief: {"; ".join(other)}'
            )

    everywhere(check)


def _flat(groups):
    """Options of groups and of groups within them, {name: value}, but for the places that each worker may
    have for itself."""
    pairs = [pair for group in groups for pair in group.items()]
    pairs += [pair for _, value in pairs if isinstance(value, dict) for pair in value.items()]
    return {
        name: value
        for name, value in pairs
        if not isinstance(value, dict) and name not in ('data_dir', 'manual_dir')
    }


def _told(error):
    """An error for JSON."""
    return error and (
        type(error).__name__,
        str(error),
        getattr(error, 'step', getattr(error, 'exit_code', 0)),
    )


def _as_error(name, message, number):
    """The error that another worker told of."""
    kinds = {
        'DivergenceError': lambda: DivergenceError(message, number),
        'Interrupted': lambda: Interrupted(message, number - 128),
    }
    return kinds.get(name, lambda: UserError(message))()


@contextlib.contextmanager
def held(directory, flag='--workdir'):
    """`files.held` for all workers, by the chief; all must see the directory.

    Raises:
      UserError: another run holds it, or a worker does not see it.
    """
    with entered_by_chief(files.held(directory, flag)):
        everywhere(lambda: _check_seen(directory, flag))
        yield


@contextlib.contextmanager
def entered_by_chief(context):
    """A context that the chief alone enters, with what that gives it; None elsewhere."""
    with contextlib.ExitStack() as stack:
        yield by_chief(lambda: stack.enter_context(context))


def _check_seen(directory, flag):
    if not os.path.exists(os.path.join(directory, files.LOCK)):
        mine = cluster.workers()
        raise UserError(
            f'worker {mine.index} ({mine.addresses[mine.index]}) does not see {directory} of the chief: '
            f'{flag} must be on a file '
            'system that all workers share'
        )


def of_each(strategy, values):
    """One value for each replica of this worker, or of all, in turn, as tensors."""
    tensors = [tf.convert_to_tensor(value) for value in values]
    return strategy.experimental_distribute_values_from_function(
        lambda context: tensors[context.replica_id_in_sync_group % len(tensors)]
    )


def gathered(strategy, values):
    """The values of all replicas, each a tensor [n, ...], as one array; all workers get it."""
    if count() == 1:
        return np.concatenate([part.numpy() for part in strategy.experimental_local_results(values)])
    return _gathered(values).numpy()


@tf.function(autograph=False)
def _gathered(values):
    strategy = devices.strategy()
    return strategy.gather(strategy.run(tf.identity, (values,)), axis=0)


@tf.function(autograph=False)
def _summed(values):
    strategy = devices.strategy()
    return strategy.reduce('sum', strategy.run(tf.identity, (values,)), axis=None)


def _reason(error):
    """What TensorFlow says of a lost worker, without the stack of the operation that was waiting for it."""
    said = re.search(r'aborted by: *(.*)', str(error))
    return f'{type(error).__name__}: {said.group(1)}' if said else one_line(error)


@contextlib.contextmanager
def as_one_run():
    """Has the chief alone write to stdout, and errors that a lost worker or TPU causes raise `WorkerLost`."""
    try:
        with (
            open(os.devnull, 'w', encoding='utf-8') as sink,
            contextlib.redirect_stdout(sys.stdout if is_chief() else sink),
        ):
            yield
    except _LOST as error:
        is_of_tpu = devices.on_tpu() and isinstance(error, _LOST_TPU)
        if count() == 1 and not _by_itself and not is_of_tpu:
            raise
        lost = 'the TPU' if is_of_tpu else 'a worker of this run'
        raise WorkerLost(
            f'{lost} is gone or cannot be reached ({_reason(error)}): see what it wrote; once all have '
            'ended, the same commands go on '
            'from the last checkpoint'
        ) from error
