"""Compiles the model's methods, and replaces Keras' training function in the cases where Keras fails."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf


def graph(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a method with `tf.function` without AutoGraph.

    `tf.function(autograph=False)` itself does not work with a strategy's `run`.
    """
    return tf.function(tf.autograph.experimental.do_not_convert(method))


def train_function(model: Any, steps: int) -> Callable[[Iterator[Any]], dict[str, tf.Tensor]] | None:
    """Returns the function that `fit` calls with an iterator over batches.

    Keras' own function has three faults. Its loop over several steps fails on several replicas. On a TPU, it
    requests compilation by XLA, although the TPU compiles everything anyway. With several workers, it
    averages each logged number along an axis, but scalars have no axis.

    Args:
      model: a compiled `RecoveryLikelihood`.
      steps: steps per call.

    Returns:
      None if Keras' own function works; else a callable, iterator -> {name: float32 []}, the logged numbers
      of the last step.
    """
    strategy = model.distribute_strategy
    logged = (*model.learners, 'gradient_norm')
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if steps == 1 and not on_tpu and not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    step = model.train_step
    if model.jit_compile and not on_tpu:
        step = tf.function(step, jit_compile=True)

    def one(iterator: Iterator[Any]) -> dict[str, tf.Tensor]:
        logs = strategy.run(step, (next(iterator),))
        return {name: strategy.experimental_local_results(logs[name])[0] for name in logged}

    def several(iterator: Iterator[Any]) -> dict[str, tf.Tensor]:
        logs = {name: tf.zeros([]) for name in logged}
        for _ in tf.range(steps):
            logs = one(iterator)
        return logs

    return tf.function(one if steps == 1 else several)
