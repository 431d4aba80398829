"""Means over the images of each noise level, which training logs."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_MOST_BANDS = 20


class LevelMean(keras.metrics.Metric):
    """Mean of a value over the images of each level.

    If T > 20, the metric splits the levels into 20 bands of neighbours, and takes one mean per band.

    Args:
      num_levels: T, the number of levels.
    """

    def __init__(self, num_levels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_levels = num_levels
        bands = min(num_levels, _MOST_BANDS)
        self.total = self.add_variable((bands,), 'zeros', name='total')
        self.count = self.add_variable((bands,), 'zeros', name='count')

    def update_state(self, values: tf.Tensor, level: tf.Tensor) -> None:
        """Adds one value per image, float32 [B], to the mean of the image's level, int32 [B]."""
        bands = self.total.shape[0]
        band = level * bands // self.num_levels
        self.total.assign_add(tf.math.unsorted_segment_sum(values, band, bands))
        self.count.assign_add(tf.math.unsorted_segment_sum(tf.ones_like(values), band, bands))

    def result(self) -> tf.Tensor:
        """Returns the means, float32 [min(T, 20)]; NaN for a level or band without images."""
        return self.total / self.count


def rms(x: tf.Tensor) -> tf.Tensor:
    """Returns the root mean square over the pixels of each image: float32 [B, H, W, C] -> [B]."""
    return tf.sqrt(tf.reduce_mean(x**2, axis=[1, 2, 3]))


def summed_over_replicas(variables: Sequence[Any], strategy: tf.distribute.Strategy) -> list[tf.Tensor]:
    """Returns the sum of each variable over all replicas of all workers; each replica has its own value."""

    def of_replica() -> list[tf.Tensor]:
        values = [variable.value + 0 for variable in variables]
        return tf.distribute.get_replica_context().all_reduce('sum', values)

    return [strategy.experimental_local_results(total)[0] for total in strategy.run(of_replica)]
