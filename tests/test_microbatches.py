"""Gradient accumulation and recomputation change the memory of a step, not the step."""

import numpy as np
import pytest
import tensorflow as tf
from test_cooperative import CLASSES

from drl_tf import config
from drl_tf.train import compiled_model

T6 = config.Config().replace(
    image_size=8, image_channels=1, channels=8, num_res_blocks=1, channel_mult=(1, 2), mcmc_steps=(2,), batch_size=8, warmup_steps=0,
    dropout=0.2, clip_norm=0.1, learning_rate=1e-3,
)  # fmt: skip
CDRL = CLASSES.replace(
    batch_size=8, initializer_dropout=0.2, dropout=0.1, clip_norm=0.1, learning_rate=1e-3, initializer_learning_rate=1e-3
)
RECIPES = pytest.mark.parametrize('options', [T6, CDRL], ids=['t6', 'cdrl'])


def batch(options):
    images = tf.random.stateless_uniform([options.training.batch_size, 8, 8, 1], [1, 2], -1, 1)
    return (images, tf.range(options.training.batch_size) % 4) if options.data.num_classes else images


def after_steps(options, steps=2, jit_compile=False):
    """Every variable of training and the logs after some steps, from weights that are away from their start."""
    model = compiled_model(options)
    variables = [*model.weights, *(variable for optimizer in model.optimizers for variable in optimizer.variables)]
    for network, _ in model.learners.values():
        for index, weight in enumerate(network.weights):
            weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
    step = tf.function(model.train_step, jit_compile=jit_compile)
    for _ in range(steps):
        logs = step(batch(options))
    return {variable.path: variable.numpy() for variable in variables}, {name: float(value) for name, value in logs.items()}


def assert_same(found, expected, tolerance):
    (variables, logs), (expected_variables, expected_logs) = found, expected
    assert logs == pytest.approx(expected_logs, rel=1e-4)
    assert variables.keys() == expected_variables.keys()
    for path, value in variables.items():
        np.testing.assert_allclose(value, expected_variables[path], rtol=tolerance, atol=tolerance, err_msg=path)


@RECIPES
def test_microbatches_take_the_step_of_the_whole_batch(options):
    whole = after_steps(options)
    for parts in (2, 8):
        assert_same(after_steps(options.replace(microbatches=parts)), whole, 2e-5)


@RECIPES
def test_recomputed_blocks_have_the_same_gradient(options):
    assert_same(after_steps(options.replace(remat=True)), after_steps(options), 1e-6)
