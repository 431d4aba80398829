"""Parts of a batch that a CPU computes at the same time, each on a core of its own.

TensorFlow usually runs one operation after the other, each on all cores. With small images the cores then
often wait for each other. If TensorFlow is set up to run each operation on one core, and several operations
at the same time, the functions of this module split a batch, so that all cores have work.
"""

import itertools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def num_parts(size: int | None) -> int:
    """Returns the number of parts into which to split a batch.

    If TensorFlow gives each operation a single thread (`intra_op_parallelism_threads` is 1), there is one
    part for each operation that can run at the same time (`inter_op_parallelism_threads`), but no more parts
    than images. Otherwise the batch stays whole: the function returns 1.

    Args:
      size: number of images of the batch; None if it is not known yet: the function then returns 1.

    Examples:
      >>> num_parts(32)
      1
    """
    threading = tf.config.threading
    if size is None or threading.get_intra_op_parallelism_threads() != 1:
        return 1
    return min(size, max(1, threading.get_inter_op_parallelism_threads()))


def of_parts(function: Callable[..., Any], batch: Any) -> list[Any]:
    """Calls a function for each part of a batch, so that TensorFlow can compute the parts at the same time.

    Args:
      function: callable, (first, part) -> result. first: index in `batch` of the part's first image. part: a
        structure like `batch`, with the rows of the part's images only.
      batch: nested structure with at least one tensor of rank 1 or more. All such tensors have B rows, one
        for each image; each part gets some of the rows. All other values go to each part unchanged.

    Returns:
      A list of the results, one for each part. `num_parts(B)` is the number of parts.

    Examples:
      >>> of_parts(lambda first, part: part['images'].shape, {'images': tf.ones([6, 2]), 'weight': 0.5})
      [TensorShape([6, 2])]
    """
    size = next(leaf.shape[0] for leaf in tf.nest.flatten(batch) if _has_rows(leaf))
    count = num_parts(size)
    if count == 1:
        return [function(0, batch)]

    def part(first: int, end: int) -> Any:
        return tf.nest.map_structure(lambda leaf: leaf[first:end] if _has_rows(leaf) else leaf, batch)

    bounds = [size * number // count for number in range(count + 1)]
    return [function(first, part(first, end)) for first, end in itertools.pairwise(bounds)]


def concatenated(function: Callable[..., Any], batch: Any) -> Any:
    """Calls a function for each part of a batch, and joins the results.

    Args:
      function: callable, (first, part) -> tensors in any nested structure, with one row for each image.
        first: index in `batch` of the part's first image. part: a structure like `batch`, with the rows of
        the part's images only.
      batch: nested structure. Its tensors of rank 1 or more have B rows, one for each image, and are split.

    Returns:
      The joined results, tensors with B rows, in the structure that `function` returns.

    Examples:
      >>> concatenated(lambda first, part: 2 * part, tf.ones([3])).numpy()
      array([2., 2., 2.], dtype=float32)
    """
    results = of_parts(function, batch)
    if len(results) == 1:
        return results[0]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *results)


def _has_rows(leaf: Any) -> bool:
    return tf.is_tensor(leaf) and leaf.shape.rank != 0
