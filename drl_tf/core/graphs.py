"""How the model's methods become graphs, and how Keras `fit` runs training steps where its own way does not
do."""

import tensorflow as tf


def graph(method):
    """A `tf.function` whose Python is taken as it is; its own `autograph=False` does not go with the `run` of
    a strategy."""
    return tf.function(tf.autograph.experimental.do_not_convert(method))


def train_function(model, steps):
    """What `fit` calls with an iterator over batches, for models of one or several replicas.

    Keras' loop over several steps fails on several replicas; Keras has XLA compile what a TPU compiles by
    itself; and it would average each number of the log over several workers, along an axis that a scalar
    lacks.

    Args:
      model: a compiled `RecoveryLikelihood`.
      steps: how many are taken in a call.

    Returns:
      None where Keras' own function does; else a callable, iterator -> the log of the last step, {name:
      float32 []}.
    """
    strategy, logged = model.distribute_strategy, (*model.learners, 'gradient_norm')
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if steps == 1 and not on_tpu and not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    step = (
        tf.function(model.train_step, jit_compile=True)
        if model.jit_compile and not on_tpu
        else model.train_step
    )

    def one(iterator):
        logs = strategy.run(step, (next(iterator),))
        return {name: strategy.experimental_local_results(logs[name])[0] for name in logged}

    def several(iterator):
        logs = {name: tf.zeros([]) for name in logged}
        for _ in tf.range(steps):
            logs = one(iterator)
        return logs

    return tf.function(one if steps == 1 else several)
