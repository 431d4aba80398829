"""Spreads a computation on many images, such as features, over all devices of all workers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from drl_tf.distributed import chief, cluster, devices, workers

_MOST_BYTES = 2**24
Run = Callable[[np.ndarray], tuple[Any, ...]]


def replicas() -> int:
    """Returns how many devices of this process share a computation on images.

    This is 1 with a TPU: its host does the work, because a TPU cannot resize images with antialiasing.
    """
    strategy = devices.strategy()
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return 1
    return strategy.num_replicas_in_sync // devices.num_workers()


def over_replicas(function: Run) -> Run:
    """Wraps a function of images so that each device of this process computes a part of the images.

    Args:
      function: callable that maps images, uint8 [n, H, W, C], to a tuple, each entry of which is a tensor
        [n, ...] or None. It uses TensorFlow operations only.

    Returns:
      A callable with the same argument and result as `function`.
    """
    strategy = devices.strategy()
    count = replicas()
    if count == 1:
        return function
    shared = tf.function(lambda parts: strategy.run(function, (parts,)), autograph=False)

    def run(images: np.ndarray) -> tuple[Any, ...]:
        results = shared(workers.of_each(strategy, np.split(_padded(images, count), count)))
        local = [
            result if result is None else tf.concat(strategy.experimental_local_results(result), 0)
            for result in results
        ]
        return tuple(result if result is None else result[: len(images)] for result in local)

    return run


class OverWorkers:
    """Runs a function of images on all workers, although only the chief (the first worker) has the images.

    All workers call the method `led`, and pass it a function, which only the chief executes. Whenever this
    function calls the method `run` with images, every worker computes a part of them.

    Args:
      run: callable that maps images, uint8 [n, H, W, C], to a tuple, each entry of which is a float32 array
        [n, ...] or None. Every worker calls it with its part of the images.

    Example:
      spread = OverWorkers(features)
      spread.led(lambda: [spread.run(images) for images in batches])  # On all workers.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._leads = False
        self._failed = False

    def led(self, function: Callable[[], Any]) -> Any:
        """Calls `function` on the chief; meanwhile, the other workers share the work of each call of `run`.

        Args:
          function: callable without arguments, which calls the method `run` any number of times.

        Returns:
          The result of `function` on the chief; None on the other workers.
        """
        if workers.count() == 1:
            return function()
        if workers.is_chief():
            return chief.run(lambda: self._lead(function))
        return workers.everywhere(self._follow)

    def run(self, images: np.ndarray) -> tuple[Any, ...]:
        """Applies a function to images: the callable that the constructor got as its argument `run`.

        If this method is called by a function that was passed to the method `led`, all workers share the
        images. Otherwise, this process computes all of them.

        Args:
          images: uint8 [n, H, W, C].

        Returns:
          The results for all n images, a tuple; each entry is an array [n, ...] or None.
        """
        if not self._leads:
            return self._run(images)
        with workers.together():
            size = max(1, _MOST_BYTES // images[0].nbytes)
            parts = [self._shared(images[first : first + size]) for first in range(0, len(images), size)]
        results = zip(*parts, strict=True)
        return tuple(None if arrays[0] is None else np.concatenate(arrays) for arrays in results)

    def _lead(self, function: Callable[[], Any]) -> Any:
        self._leads = True
        self._failed = False
        try:
            result = function()
        except workers.CARRIED:
            if not self._failed:
                self._end()
            raise
        finally:
            self._leads = False
        self._end()
        return result

    def _end(self) -> None:
        """Tells the other workers that no more images come."""
        with workers.together():
            self._shared(None)

    def _follow(self) -> None:
        while self._shared(None) is not None:
            pass

    def _shared(self, images: np.ndarray | None) -> Any:
        """Calls the constructor's `run` on all workers, each with a part of the chief's images; returns the
        joined results, or None if the chief passes None."""
        images = workers.told_array(images)
        count = workers.count()
        if images is None:
            return None
        mine = np.split(_padded(images, count), count)[cluster.workers().index]
        try:
            results = workers.everywhere(lambda: self._run(mine))
        except workers.CARRIED:
            self._failed = True
            raise
        return tuple(None if part is None else workers.stacked(part)[: len(images)] for part in results)


def _padded(images: np.ndarray, count: int) -> np.ndarray:
    """Repeats the last image until the number of images is a multiple of `count`."""
    total = -(-len(images) // count) * count
    return images[np.minimum(np.arange(total), len(images) - 1)]
