"""The network, the chain and the loss against what the authors' code computes from one of its checkpoints."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.parity import FIXTURE, relative_error

from drl_tf.config import config
from drl_tf.core import conditionals
from drl_tf.core.diffusion import at
from drl_tf.core.langevin import value_gradient
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.runs import authors_weights


@pytest.fixture(scope='module')
def expected():
    with np.load(FIXTURE / 'expected.npz') as file:
        return dict(file)


@pytest.fixture(scope='module')
def model():
    options = config.Config().replace(image_size=32, image_channels=3, channels=8, num_res_blocks=1)
    model = RecoveryLikelihood(options)
    authors_weights.load_weights(model.network, str(FIXTURE / 'ckpt-iter12345'))
    return model


def test_output_and_gradient(model, expected):
    prepared = model.network.prepare(expected['t'])
    x = tf.constant(expected['x'])
    assert relative_error(model.network(x, prepared), expected['energy']) < 1e-4
    assert (
        relative_error(value_gradient(lambda y: model.network(y, prepared), x), expected['denergy_dx']) < 1e-4
    )


def test_chain(model, expected):
    level, x_next, eps = expected['t'], tf.constant(expected['x_next']), tf.constant(expected['noise'])

    def chain(log_density):
        y, _ = conditionals.conditional_chain(
            model.schedule, log_density, x_next, x_next, level, len(eps), lambda k: eps[k]
        )
        return (y / at(model.schedule.m, level)).numpy()

    x_t = chain(model.density_at(level, 'raw'))
    without_network = chain(lambda y: 0.0 * y[:, 0, 0, 0])
    np.testing.assert_allclose(x_t, expected['langevin_x'], atol=2e-4)
    assert relative_error(x_t - without_network, expected['langevin_x'] - without_network) < 0.02


def test_loss_and_its_gradient(model, expected):
    level, m = expected['t'], at(model.schedule.m, expected['t'])
    with tf.GradientTape() as tape:
        losses, _, _ = model.contrastive_loss(m * expected['x_pos'], m * expected['x_neg'], level)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [weight.value for weight in model.network.trainable_variables])
    assert relative_error(loss, expected['loss']) < 1e-4
    assert relative_error(tf.linalg.global_norm(gradients), expected['grad_norm']) < 1e-4
