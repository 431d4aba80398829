"""What is computed of many images, such as their features, by all replicas of all workers at once."""

import numpy as np
import tensorflow as tf

from drl_tf import cluster, devices, workers


def replicas():
    """How many devices of this process take part; of a TPU, which cannot resize images with antialiasing, its host alone."""
    strategy = devices.strategy()
    return 1 if isinstance(strategy, tf.distribute.TPUStrategy) else strategy.num_replicas_in_sync // cluster.workers().count


def over_replicas(function):
    """Has each replica of this process take its part of the images.

    Args:
      function: callable, uint8 [n, H, W, C] -> a tuple of tensors [n, ...], or None in their place; of TensorFlow's operations alone.

    Returns:
      A callable, as `function`.
    """
    strategy, count = devices.strategy(), replicas()
    if count == 1:
        return function
    shared = tf.function(lambda parts: strategy.run(function, (parts,)), autograph=False)

    def run(images):
        parts = [tf.constant(part) for part in np.split(_padded(images, count), count)]
        results = shared(
            strategy.experimental_distribute_values_from_function(lambda context: parts[context.replica_id_in_sync_group % count])
        )
        local = [result if result is None else tf.concat(strategy.experimental_local_results(result), 0) for result in results]
        return tuple(result if result is None else result[: len(images)] for result in local)

    return run


def over_workers(run):
    """Has each worker take its part of the images that the chief has.

    Args:
      run: callable, uint8 [n, H, W, C] -> a tuple of arrays [n, ...], or None in their place.

    Returns:
      For the chief, within `workers.led_by_chief`, a callable as `run`; and what all the others call there with the same images.
    """

    if workers.count() == 1:
        return run, None

    def take_part(images):
        mine = np.split(_padded(images, workers.count()), workers.count())[cluster.workers().index]
        return tuple(part if part is None else workers.stacked(part)[: len(images)] for part in run(mine))

    return (lambda images: workers.handed_out(images, take_part)), take_part


def _padded(images, count):
    """The images, the last of them again and again up to a multiple of a number."""
    return images[np.minimum(np.arange(-(-len(images) // count) * count), len(images) - 1)]
