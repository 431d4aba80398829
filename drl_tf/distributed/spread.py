"""What is computed of many images, such as their features, by all replicas of all workers at once."""

import numpy as np
import tensorflow as tf

from drl_tf.distributed import cluster, devices, workers

_MOST_BYTES = 2**24


def replicas():
    """How many devices of this process take part; of a TPU, which cannot resize images with antialiasing, its
    host alone."""
    strategy = devices.strategy()
    return (
        1
        if isinstance(strategy, tf.distribute.TPUStrategy)
        else strategy.num_replicas_in_sync // cluster.workers().count
    )


def over_replicas(function):
    """Has each replica of this process take its part of the images.

    Args:
      function: callable, uint8 [n, H, W, C] -> a tuple of tensors [n, ...], or None in their place; of
        TensorFlow's operations alone.

    Returns:
      A callable, as `function`.
    """
    strategy, count = devices.strategy(), replicas()
    if count == 1:
        return function
    shared = tf.function(lambda parts: strategy.run(function, (parts,)), autograph=False)

    def run(images):
        results = shared(workers.of_each(strategy, np.split(_padded(images, count), count)))
        local = [
            result if result is None else tf.concat(strategy.experimental_local_results(result), 0)
            for result in results
        ]
        return tuple(result if result is None else result[: len(images)] for result in local)

    return run


class OverWorkers:
    """Has each worker take its part of the images that the chief has.

    Args:
      run: callable, uint8 [n, H, W, C] -> a tuple of float32 arrays [n, ...], or None in their place.
    """

    def __init__(self, run):
        self._run, self._leads, self._failed = run, False, False

    def led(self, function):
        """Runs on the chief; each `run` inside it executes on all workers. All of them call this."""
        if workers.count() == 1:
            return function()
        return (
            workers.by_chief(lambda: self._lead(function))
            if workers.is_chief()
            else workers.everywhere(self._follow)
        )

    def run(self, images):
        """As the callable itself."""
        if not self._leads:
            return self._run(images)
        with workers.together():
            size = max(1, _MOST_BYTES // images[0].nbytes)
            results = zip(
                *(self._shared(images[i : i + size]) for i in range(0, len(images), size)), strict=True
            )
        return tuple(None if parts[0] is None else np.concatenate(parts) for parts in results)

    def _lead(self, function):
        self._leads, self._failed = True, False
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

    def _end(self):
        with workers.together():
            self._shared(None)

    def _follow(self):
        while self._shared(None) is not None:
            pass

    def _shared(self, images):
        """What `run` returns to all for the chief's images; for None, None."""
        images, count = workers.told_array(images), workers.count()
        if images is None:
            return None
        mine = np.split(_padded(images, count), count)[cluster.workers().index]
        try:
            results = workers.everywhere(lambda: self._run(mine))
        except workers.CARRIED:
            self._failed = True
            raise
        return tuple(None if part is None else workers.stacked(part)[: len(images)] for part in results)


def _padded(images, count):
    """The images, the last of them again and again up to a multiple of a number."""
    return images[np.minimum(np.arange(-(-len(images) // count) * count), len(images) - 1)]
