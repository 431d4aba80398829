"""Gradient accumulation: sums over a batch of which one part at a time is in memory."""

import tensorflow as tf


def summed(function, batch, num_parts, nothing):
    """Adds up what a function gives for consecutive parts of a batch.

    Args:
      function: callable, (index of the first image of the part, *its rows of `batch`) -> a structure of sums
        over its images.
      batch: tensors [B, ...], or None, which stays None.
      num_parts: M, which divides B.
      nothing: zero accumulator, a structure like the sum.

    Returns:
      The structure for the whole batch; the memory of a loop over M parts of B / M images each.
    """
    if num_parts == 1:
        return function(0, *batch)
    size = batch[0].shape[0] // num_parts
    parts = [rows if rows is None else tf.reshape(rows, [num_parts, size, *rows.shape[1:]]) for rows in batch]

    def add(index, total):
        more = function(index * size, *(rows if rows is None else rows[index] for rows in parts))
        return index + 1, tf.nest.map_structure(tf.add, total, more)

    return tf.while_loop(
        lambda index, _: index < num_parts,
        add,
        (0, nothing),
        parallel_iterations=1,
        maximum_iterations=num_parts,
    )[1]
