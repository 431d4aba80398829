"""Times several functions in turn, so that changes in the machine's speed affect all of them alike."""

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

Name = TypeVar('Name', bound=Hashable)


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements.

    Attributes:
      median: the median.
      low, high: first and third quartile.
      count: number of measurements.
    """

    median: float
    low: float
    high: float
    count: int


def spread(values: Any) -> Spread:
    """Computes median and quartiles of repeated measurements, float [n].

    Examples:
      >>> spread([1.0, 2.0, 3.0, 4.0, 10.0])
      Spread(median=3.0, low=2.0, high=4.0, count=5)
    """
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Spread(median, low, high, len(values))


def in_turn(
    functions: Mapping[Name, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, np.ndarray]:
    """Times functions in turn, so that a slow moment of the machine does not hit only one of them.

    First, each function is called once without timing, which traces a `tf.function`. Then each round calls
    all functions once, in reverse order in every second round.

    Args:
      functions: {name: callable without arguments}; a callable returns only when its result is computed.
      rounds: number of rounds.
      clock: callable that returns the time in seconds.

    Returns:
      {name: seconds of the function's call in each round, float64 [rounds]}.

    Examples:
      >>> {name: len(seconds) for name, seconds in in_turn({'sum': lambda: sum(range(9))}, rounds=3).items()}
      {'sum': 3}
    """
    for function in functions.values():
        function()
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        order = list(functions) if number % 2 == 0 else list(functions)[::-1]
        for name in order:
            begin = clock()
            functions[name]()
            seconds[name].append(clock() - begin)
    return {name: np.array(values) for name, values in seconds.items()}
