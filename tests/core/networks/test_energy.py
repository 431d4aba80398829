"""Every option of the energy network does what it says."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.config.config import Network
from drl_tf.core import noise
from drl_tf.core.langevin import value_gradient
from drl_tf.core.networks.attention import Attention
from drl_tf.core.networks.energy import Block, EnergyNetwork
from drl_tf.core.networks.layers import Affine, Normalisation

SMALL = dict(channels=8, num_res_blocks=1, channel_mult=(1, 2))
LEVEL = tf.constant([0, 3, 5])
OPTIONS = [
    {},
    {'attention': True},
    {'act': 'swish', 'final_act': 'swish'},
    {'final_act': 'identity'},
    {'norm': 'batch'},
    {'norm': 'instance', 'attention': True},
    {'norm': 'group', 'channels': 32},
    {'conv_downsample': True},
    {'gain': False},
    {'conv_shortcut': False},
    {'spectral_norm': False},
]


def images(size=16):
    return tf.random.stateless_normal([3, size, size, 1], [1, 2])


def evaluate(network, y, **kwargs):
    return network(y, network.prepare(LEVEL), **kwargs)


def count(network, kind):
    return sum(isinstance(layer, kind) for layer in network._flatten_layers())


@pytest.mark.parametrize('option', OPTIONS, ids=str)
def test_every_option_learns(option):
    """Each variable but u moves the output once the blocks have left zero, and the gradient in y is
    finite."""
    network = EnergyNetwork(Network(**{**SMALL, **option}), (16, 16, 1))
    for weight in network.weights:
        weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, 4]))
    with tf.GradientTape() as tape:
        value = evaluate(network, images())
    gradients = tape.gradient(value, [weight.value for weight in network.trainable_variables])
    assert value.shape == [3] and np.isfinite(value).all()
    still = [
        weight.path
        for weight, gradient in zip(network.trainable_variables, gradients, strict=True)
        if not np.any(gradient)
    ]
    assert not still
    assert np.isfinite(value_gradient(lambda y: evaluate(network, y), images())).all()


def test_options_change_the_architecture():
    base = EnergyNetwork(Network(**SMALL), (16, 16, 1))
    assert (count(base, Block), count(base, Attention), count(base, Normalisation)) == (2, 0, 0)
    assert count(EnergyNetwork(Network(**SMALL, attention=True), (16, 16, 1)), Attention) == 1
    assert count(EnergyNetwork(Network(**SMALL, norm='batch'), (16, 16, 1)), Normalisation) == 4
    assert (
        count(EnergyNetwork(Network(**SMALL, conv_downsample=True), (16, 16, 1)), Affine)
        == count(base, Affine) + 1
    )
    assert not EnergyNetwork(Network(**SMALL, spectral_norm=False), (16, 16, 1)).normalised_layers()


@pytest.mark.parametrize(('dataset', 'options', 'size', 'millions'), [
    ('CIFAR-10', dict(channel_mult=(1, 2, 2, 2), num_res_blocks=8), 32, 34.8),
    ('LSUN 64', dict(channel_mult=(1, 2, 2, 2, 4), num_res_blocks=2), 64, 19.2),
])  # fmt: skip
def test_published_sizes(dataset, options, size, millions):
    network = EnergyNetwork(Network(**options), (size, size, 3))
    assert sum(np.prod(weight.shape) for weight in network.trainable_variables) / 1e6 == pytest.approx(
        millions, abs=0.05
    )


def test_starts_without_the_blocks():
    """The second convolutions start at zero, so that a block passes its input on."""
    network = EnergyNetwork(Network(channels=8, num_res_blocks=1, channel_mult=(1,)), (8, 8, 1))
    block = network.stages[0]
    x = tf.random.stateless_normal([2, 8, 8, 8], [1, 2])
    np.testing.assert_allclose(block(x, block.prepare(tf.ones([2, 32]))), x, atol=1e-4)


def test_spectral_norm_reaches_the_largest_singular_value():
    network = EnergyNetwork(Network(**SMALL), (16, 16, 1))
    network.converge_u()
    for layer in network.normalised_layers():
        kernel = np.reshape(layer.prepare()[0], [-1, layer.units])
        raw = np.linalg.norm(np.reshape(layer.kernel, kernel.shape), 2)
        largest = min(raw, 1) if layer.starts_at_zero else 1
        assert np.linalg.norm(kernel, 2) == pytest.approx(largest, rel=2e-3, abs=1e-6), layer.path


def test_u_moves_only_when_told():
    network = EnergyNetwork(Network(**SMALL), (16, 16, 1))
    before = [layer.u.numpy() for layer in network.normalised_layers()]
    evaluate(network, images())
    for layer, u in zip(network.normalised_layers(), before, strict=True):
        np.testing.assert_array_equal(layer.u, u)
    network.update_u()
    assert all(
        np.any(layer.u.numpy() != u) for layer, u in zip(network.normalised_layers(), before, strict=True)
    )


def test_dropout_is_seeded_and_for_training_alone():
    network = EnergyNetwork(Network(**SMALL, dropout=0.5), (16, 16, 1))
    for weight in network.weights:
        weight.assign(weight + 0.1)
    first, again, other = (
        evaluate(network, images(), dropout=noise.Dropout(tf.constant(seed)))
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other) and np.any(first != evaluate(network, images()))


def test_bfloat16_follows_float32():
    exact = EnergyNetwork(Network(**SMALL), (16, 16, 1))
    fast = EnergyNetwork(Network(**SMALL), (16, 16, 1), dtype='mixed_bfloat16')
    fast.set_weights(exact.get_weights())
    value, reference = evaluate(fast, images()), evaluate(exact, images())
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, reference, atol=0.02 * np.abs(reference).max())
    assert np.any(value != reference)
