"""Gradients are summed over the replicas once a step, by the model."""

import numpy as np
import tensorflow as tf
from helpers.tiny import TINY

from drl_tf.cli.parsing import configuration_of
from drl_tf.core.optimizer import SummedAdam
from drl_tf.training.optimizers import compiled_model


def test_a_step_sums_the_gradients_once(monkeypatch):
    """Keras' Adam would ask for a second sum, of as many tensors."""
    model = compiled_model(configuration_of(TINY))
    sums = []
    plain = tf.distribute.ReplicaContext.all_reduce

    def counted(self, op, value, *args, **kwargs):
        sums.append(len(tf.nest.flatten(value)))
        return plain(self, op, value, *args, **kwargs)

    monkeypatch.setattr(tf.distribute.ReplicaContext, 'all_reduce', counted)
    model.train_step(tf.zeros([8, 16, 16, 1]))
    assert sums.count(len(model.network.trainable_variables)) == 1


def test_updates_are_those_of_keras(monkeypatch):
    gradient = tf.constant([0.5, -2.0, 0.0])
    ours, theirs = (tf.keras.Variable([1.0, 2.0, 3.0]) for _ in range(2))
    for optimizer, variable in ((SummedAdam(0.1), ours), (tf.keras.optimizers.Adam(0.1), theirs)):
        for _ in range(3):
            optimizer.apply([gradient], [variable])
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
