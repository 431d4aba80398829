"""Compiles methods of models to graphs; replaces parts of Keras `fit`, as its training function on TPUs."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


def graph(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: wraps a method in `tf.function` without AutoGraph.

    In contrast to `tf.function(autograph=False)`, the wrapped method also works inside
    `tf.distribute.Strategy.run`.
    """
    return tf.function(tf.autograph.experimental.do_not_convert(method))


class FitHooks(keras.Model):
    """Base class of a `RecoveryLikelihood`: what it does otherwise than Keras when `fit` runs."""

    def make_train_function(self, force: bool = False) -> None:
        """Sets the function that Keras `fit` calls: Keras' own, or another where Keras' own fails (TPUs)."""
        super().make_train_function(force)
        if ours := train_function(self, self.steps_per_execution):
            self.train_function = ours

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """No-op: the weights exist already. (Keras would average a batch of classes over the replicas.)"""

    def reset_metrics(self) -> None:
        """Does nothing, so that `fit` keeps the `level_means` that a resume restored; logging resets them."""


def train_function(model: Any, steps: int) -> Callable[[Iterator[Any]], dict[str, tf.Tensor]] | None:
    """Returns a function for `fit` to call on each group of batches; None: `fit` uses that of Keras.

    Keras' function fails on TPUs, with several workers, and on several replicas if `steps` is above 1. In
    the first two cases, and whenever `steps` is above 1, this returns a function in its place.

    Args:
      model: a compiled `RecoveryLikelihood`.
      steps: training steps per call.

    Returns:
      A callable that takes an iterator over batches and makes `steps` training steps. It returns {name:
      float32 []}, the losses and the gradient norm of the last of these steps.
    """
    strategy = model.distribute_strategy
    logged = (*model.learners, 'gradient_norm')
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if steps == 1 and not on_tpu and not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    step = tf.autograph.experimental.do_not_convert(model.train_step)
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
