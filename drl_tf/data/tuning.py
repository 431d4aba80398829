"""Keeps tf.data from tuning its parallelism and buffers."""

import os

import tensorflow as tf

THREADS = len(os.sched_getaffinity(0))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a `tf.data` dataset without automatic tuning, so that its iterators are deleted at once.

    With tuning, TensorFlow 2.21 can take up to a minute to delete an iterator.

    Example:
      >>> import tensorflow as tf
      >>> from drl_tf.data.tuning import untuned
      >>> untuned(tf.data.Dataset.range(3)).options().autotune.enabled
      False
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
