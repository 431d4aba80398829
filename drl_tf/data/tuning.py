"""Keeps tf.data from tuning its parallelism and buffers while it runs."""

import os

import tensorflow as tf

THREADS = len(os.sched_getaffinity(0))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switches off the automatic tuning of a dataset.

    When an iterator is deleted, TensorFlow 2.21 does not wake the thread that tunes the dataset. The deletion
    waits until that thread wakes by itself: nearly as long as the iterator has lived, up to a minute.

    Example:
      >>> import tensorflow as tf
      >>> from drl_tf.data.tuning import untuned
      >>> untuned(tf.data.Dataset.range(3)).options().autotune.enabled
      False
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
