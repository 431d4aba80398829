"""The network of points: each point by itself, every variable of use, and fine detail within its reach."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.config.config import Network
from drl_tf.core.langevin import value_gradient
from drl_tf.core.networks.layers import Affine
from drl_tf.core.networks.mlp import MLPNetwork

POINTS = tf.random.stateless_uniform([5, 1, 1, 2], [1, 2], -1, 1)
LEVEL = tf.constant([0, 3, 5, 1, 1])


def network(**options):
    made = MLPNetwork(Network(channels=8, channel_mult=(2,), num_res_blocks=2, **options), (1, 1, 2))
    for weight in made.weights:
        weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, 4]))
    return made


@pytest.mark.parametrize(
    'options', [{}, {'spectral_norm': False, 'act': 'swish', 'final_act': 'swish'}, {'gain': False}], ids=str
)
def test_every_variable_moves_it(options):
    net = network(**options)
    with tf.GradientTape() as tape:
        value = net(POINTS, net.prepare(LEVEL))
    gradients = tape.gradient(value, [weight.value for weight in net.trainable_variables])
    still = [
        weight.path
        for weight, gradient in zip(net.trainable_variables, gradients, strict=True)
        if not np.any(gradient)
    ]
    assert value.shape == [5] and not still
    assert np.isfinite(value_gradient(lambda y: net(y, net.prepare(LEVEL)), POINTS)).all()
    assert all(len(layer.kernel.shape) == 2 for layer in net._flatten_layers() if isinstance(layer, Affine))


def test_each_point_by_itself():
    net = network()
    together = net(POINTS, net.prepare(LEVEL))
    alone = [net(POINTS[i : i + 1], net.prepare(LEVEL[i : i + 1]))[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_it_sees_waves_of_the_coordinates():
    """Periods of 2, 1, .., 1/8, and slopes of the roots of their frequencies."""
    net, seen = network(), []
    net.conv_in.call = lambda x, prepared: seen.append(x.numpy()[:, 0, 0]) or tf.zeros([len(x), 1, 1, 8])
    step = 1e-3
    for shift in (0.0, step, 0.125, 1.0, 2.0):
        net(POINTS + shift, net.prepare(LEVEL))
    here, near, finest, half, whole = seen
    np.testing.assert_array_equal(here[:, :2], POINTS[:, 0, 0])
    assert 0.9 < np.abs(near - here).max() / step / np.sqrt(16 * np.pi) < 1.01
    np.testing.assert_allclose(whole[:, 2:], here[:, 2:], atol=1e-5)
    np.testing.assert_allclose(half[:, 2:6], -here[:, 2:6], atol=1e-5)
    np.testing.assert_allclose(finest[:, -4:], here[:, -4:], atol=1e-5)
    assert np.abs(finest[:, -8:-4] - here[:, -8:-4]).max() > 0.02
