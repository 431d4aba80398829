"""What training reports of each noise level."""

import keras
import tensorflow as tf

_MOST_BANDS = 20


class LevelMean(keras.metrics.Metric):
    """Mean of a value per image over the images of each level, float32 [T] (NaN where a level had none).

    More than 20 levels are taken together in 20 bands of neighbours.
    """

    def __init__(self, num_levels, **kwargs):
        super().__init__(**kwargs)
        self.num_levels, bands = num_levels, min(num_levels, _MOST_BANDS)
        self.total = self.add_variable((bands,), 'zeros', name='total')
        self.count = self.add_variable((bands,), 'zeros', name='count')

    def update_state(self, values, level):
        bands = self.total.shape[0]
        band = level * bands // self.num_levels
        self.total.assign_add(tf.math.unsorted_segment_sum(values, band, bands))
        self.count.assign_add(tf.math.unsorted_segment_sum(tf.ones_like(values), band, bands))

    def result(self):
        return self.total / self.count


def rms(x):
    """Root mean square over the pixels of each image."""
    return tf.sqrt(tf.reduce_mean(x**2, axis=[1, 2, 3]))
