"""What training reports of each noise level."""

import keras
import tensorflow as tf


class LevelMean(keras.metrics.Metric):
    """Mean of a value per image over the images of each level, float32 [T] (NaN where a level had none)."""

    def __init__(self, num_levels, **kwargs):
        super().__init__(**kwargs)
        self.total = self.add_variable((num_levels,), 'zeros', name='total')
        self.count = self.add_variable((num_levels,), 'zeros', name='count')

    def update_state(self, values, level):
        num_levels = self.total.shape[0]
        self.total.assign_add(tf.math.unsorted_segment_sum(values, level, num_levels))
        self.count.assign_add(tf.math.unsorted_segment_sum(tf.ones_like(values), level, num_levels))

    def result(self):
        return self.total / self.count
