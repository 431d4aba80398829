"""Endless batches of points of the plane."""

import numpy as np
import tensorflow as tf

from drl_tf.data import plane


def endless_points(
    name: str, seed: int, batch_size: int, first_step: int, rows: slice, at_once: int
) -> tf.data.Dataset:
    """Returns the rows of all batches of points from one step on, which are drawn anew for each batch.

    Args:
      name: name of the dataset, such as 'toy_checkerboard'.
      seed: int, at least 0.
      batch_size: points per batch.
      first_step: number of batches that were used before.
      rows: slice of each batch to return.
      at_once: number of points in each element of the result, a divisor of the number of `rows`.

    Returns:
      Dataset of points as images, float32 [at_once, 1, 1, 2].
    """

    def points(step: np.ndarray) -> np.ndarray:
        return plane.points(name, seed, int(step), batch_size)[rows]

    def draw(step: tf.Tensor) -> tf.Tensor:
        drawn = tf.numpy_function(points, [step], tf.float32)
        return tf.ensure_shape(drawn, [len(range(batch_size)[rows]), *plane.IMAGE_SHAPE])

    # With several workers, TensorFlow forgets the batch size of a dataset unless it knows that it is endless.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return tf.data.Dataset.counter(first_step).map(draw).rebatch(at_once).apply(endless)
