"""Means of losses and other values over the images of each noise level, for the training log."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

_MOST_BANDS = 20


class LevelMean(keras.metrics.Metric):
    """Keras metric: the mean of a value over the images of each noise level.

    With more than 20 levels, the metric has 20 means, each over a group of neighbouring levels.

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
        """Adds one value per image to the mean of that image's level.

        Args:
          values: one value per image, float32 [B].
          level: noise level of each image, 0 to T - 1, int32 [B].
        """
        bands = self.total.shape[0]
        band = level * bands // self.num_levels
        self.total.assign_add(tf.math.unsorted_segment_sum(values, band, bands))
        self.count.assign_add(tf.math.unsorted_segment_sum(tf.ones_like(values), band, bands))

    def result(self) -> tf.Tensor:
        """Returns the mean at each noise level, float32 [T]; NaN where no value has been added yet.

        With T > 20, neighbouring levels are joined to 20 groups. The result then has the mean of
        each group, float32 [20].
        """
        return self.total / self.count


def rms(x: tf.Tensor) -> tf.Tensor:
    """Returns each image's root mean square over pixels and channels: float32 [B, H, W, C] -> float32 [B]."""
    return tf.sqrt(tf.reduce_mean(x**2, axis=[1, 2, 3]))


def summed_over_replicas(variables: Sequence[Any], strategy: tf.distribute.Strategy) -> list[tf.Tensor]:
    """Sums each variable over the replicas of all workers.

    Args:
      variables: variables whose values may differ between replicas.
      strategy: the strategy under which the variables were created.

    Returns:
      One total for each variable, in order.
    """

    def of_replica() -> list[tf.Tensor]:
        values = [variable.value + 0 for variable in variables]
        return tf.distribute.get_replica_context().all_reduce('sum', values)

    return [strategy.experimental_local_results(total)[0] for total in strategy.run(of_replica)]
