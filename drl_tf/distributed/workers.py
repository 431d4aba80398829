"""Messages between the workers of a run.

All workers must call these functions at the same point. With a single worker, they do nothing special.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.base.errors import DivergenceError, Interrupted, UserError, WorkerLost, one_line
from drl_tf.config.data_options import LOCAL_PATHS
from drl_tf.distributed import cluster, devices

_LOST_TPU = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.UnavailableError)
_LOST = (
    *_LOST_TPU,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
CARRIED = (UserError, DivergenceError, Interrupted, OSError)  # Errors that one worker passes on to all.
_by_itself: list[bool] = []


def count() -> int:
    """Returns how many workers run together: 1 inside a function that the chief alone runs, else all."""
    return 1 if _by_itself else devices.num_workers()


def is_chief() -> bool:
    return count() == 1 or cluster.workers().index == 0


def exchange(value: Any) -> list[Any]:
    """Every worker passes a JSON value, and gets the list of the values of all workers, the chief's first."""
    if count() == 1:
        return [value]
    text = json.dumps(value).encode()
    sizes = _rows(np.array([len(text)], np.float32))[:, 0].astype(int)
    padded = np.zeros(2 ** int(sizes.max()).bit_length(), np.float32)
    padded[: len(text)] = list(text)
    rows = zip(_rows(padded), sizes, strict=True)
    return [json.loads(bytes(row[:size].astype(np.uint8))) for row, size in rows]


def _rows(mine: np.ndarray) -> np.ndarray:
    """Returns the vectors of all workers, float32 [workers, n]."""
    strategy = devices.strategy()
    rows = _gathered(of_each(strategy, [mine[None]]))
    return rows.numpy()[:: strategy.num_replicas_in_sync // count()]


def everywhere(function: Callable[[], Any]) -> Any:
    """Calls a function on every worker, and returns the result of this worker's call.

    If one worker raises UserError, DivergenceError, Interrupted or OSError, all others raise an error too.
    """
    if count() == 1:
        return function()
    result = mine = None
    try:
        result = function()
    except CARRIED as error:
        mine = error
    failures = [failure for failure in exchange(_as_json(mine)) if failure]
    if failures:
        all_received()
        raise mine or _from_json(*failures[0])
    return result


def all_received() -> None:
    """Waits until all workers have received all messages: one that ends breaks off what others receive."""
    with contextlib.suppress(*_LOST):
        exchange(None)


def alone() -> contextlib.AbstractContextManager[None]:
    """Context manager: in the block, this worker works alone, and `count` is 1."""
    return _alone(True)


def together() -> contextlib.AbstractContextManager[None]:
    """Context manager: in the block, a worker that works alone works with all workers again."""
    return _alone(False)


@contextlib.contextmanager
def _alone(is_alone: bool) -> Iterator[None]:
    before = list(_by_itself)
    _by_itself[:] = [True] if is_alone else []
    try:
        yield
    finally:
        _by_itself[:] = before


def told_array(array: np.ndarray | None) -> np.ndarray | None:
    """Returns on every worker the `array` that the chief passes, uint8 or None; the others pass None."""
    shape = exchange(None if array is None else array.shape)[0]
    if shape is None:
        return None
    strategy = devices.strategy()
    values = np.zeros(shape, np.float32) if array is None else array.astype(np.float32)
    other_replicas = strategy.num_replicas_in_sync // count() - 1
    mine = [values, *[tf.zeros(shape)] * other_replicas]
    return _summed(of_each(strategy, mine)).numpy().astype(np.uint8)


def stacked(array: np.ndarray) -> np.ndarray:
    """Joins the arrays of all workers, float32 [n, ...], to float32 [workers * n, ...] on every worker."""
    return _rows(np.ravel(array)).reshape([-1, *array.shape[1:]])


def check_alike(*groups: dict[str, Any]) -> None:
    """Checks that all workers have the same options, except for `data_dir` and `manual_dir`.

    Args:
      groups: dicts of options, {name: JSON value}. A value may be a dict of options, without further dicts.

    Raises:
      UserError: a worker has other options than the chief.
    """
    options = json.loads(json.dumps(_flat(groups)))
    chiefs = exchange(options)[0]
    other = [
        f'--{name}={value} here, {chiefs.get(name)} there'
        for name, value in options.items()
        if value != chiefs.get(name)
    ]

    def check() -> None:
        if other:
            raise UserError(
                f'worker {cluster.workers().index} has other options than the chief: {"; ".join(other)}'
            )

    everywhere(check)


def _flat(groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns {name: value} of all options in groups, and in dicts within groups, without local paths."""
    pairs = [pair for group in groups for pair in group.items()]
    pairs += [pair for _, value in pairs if isinstance(value, dict) for pair in value.items()]
    return {name: value for name, value in pairs if not isinstance(value, dict) and name not in LOCAL_PATHS}


def _as_json(error: Exception | None) -> tuple[str, str, int] | None:
    if error is None:
        return None
    number = getattr(error, 'step', getattr(error, 'exit_code', 0))
    return type(error).__name__, str(error), number


def _from_json(name: str, message: str, number: int) -> Exception:
    """Returns the error that another worker has raised."""
    if name == 'DivergenceError':
        return DivergenceError(message, number)
    if name == 'Interrupted':
        return Interrupted(message, number - 128)
    return UserError(message)


def of_each(strategy: tf.distribute.Strategy, values: Sequence[Any]) -> Any:
    """Returns an argument for `strategy.run`: on replica i of this process, it is the tensor `values[i]`."""
    tensors = [tf.convert_to_tensor(value) for value in values]
    return strategy.experimental_distribute_values_from_function(
        lambda context: tensors[context.replica_id_in_sync_group % len(tensors)]
    )


def gathered(strategy: tf.distribute.Strategy, values: Any) -> np.ndarray:
    """Joins the tensors [n, ...] of all replicas of all workers along axis 0; every worker calls this."""
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


def _reason(error: BaseException) -> str:
    """Returns TensorFlow's message about a lost worker, without the stack of the waiting operation."""
    said = re.search(r'aborted by: *(.*)', str(error))
    return f'{type(error).__name__}: {said.group(1)}' if said else one_line(error)


@contextlib.contextmanager
def as_one_run() -> Iterator[None]:
    """Context manager: only the chief prints to stdout. If a worker or TPU is lost, raises `WorkerLost`."""
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
            f'{lost} is gone or cannot be reached ({_reason(error)}): see its own output; once all workers '
            'have ended, the same commands go on from the last checkpoint'
        ) from error
