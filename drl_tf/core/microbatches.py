"""Gradient accumulation: sums over a batch, with one part of it in memory at a time."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from drl_tf.core import batch_parts


def summed(function: Callable[..., Any], batch: Sequence[Any], num_parts: int, nothing: Any) -> Any:
    """Sums the results of a function over M equal parts of a batch, one at a time to save memory.

    On a CPU, `batch_parts.of_parts` may split each part again, to compute on several cores.

    Args:
      function: callable, (first, *rows) -> tensors in any nested structure. first: index in `batch` of the
        part's first image. rows: for each tensor of `batch`, its rows for the images of the part; None where
        `batch` has None.
      batch: tensors [B, ...], or None, with one row for each of B images.
      num_parts: M, a divisor of B.
      nothing: the sum to start from: zeros in the structure that `function` returns.

    Returns:
      The sum of the M results, in the structure that `function` returns.

    Examples:
      >>> rows = tf.ones([6, 2])
      >>> summed(lambda first, part: tf.reduce_sum(part), [rows], num_parts=3, nothing=0.0).numpy().item()
      12.0
    """

    def of_rows(begin: int | tf.Tensor, rows: Sequence[Any]) -> Any:
        results = batch_parts.of_parts(lambda first, part: function(begin + first, *part), list(rows))
        return tf.nest.map_structure(lambda *parts: functools.reduce(tf.add, parts), *results)

    if num_parts == 1:
        return of_rows(0, batch)
    size = batch[0].shape[0] // num_parts

    def split(rows: tf.Tensor | None) -> tf.Tensor | None:
        return None if rows is None else tf.reshape(rows, [num_parts, size, *rows.shape[1:]])

    parts = [split(rows) for rows in batch]

    def add(index: tf.Tensor, total: Any) -> tuple[tf.Tensor, Any]:
        more = of_rows(index * size, [None if rows is None else rows[index] for rows in parts])
        return index + 1, tf.nest.map_structure(tf.add, total, more)

    return tf.while_loop(
        lambda index, _: index < num_parts,
        add,
        (0, nothing),
        parallel_iterations=1,
        maximum_iterations=num_parts,
    )[1]
