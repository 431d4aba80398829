"""Guidance and composition of classes, in the energy and in the proposal, against closed forms."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import CLASSES, moved_model, y

from drl_tf.core import conditionals, noise
from drl_tf.core.build_model import build_model
from drl_tf.core.guidance import UNCONDITIONAL, classes_of, composed, guided, network_labels
from drl_tf.core.sampling import Draw

LEVEL = tf.constant([0, 2, 5])


new_model = functools.cache(build_model)


def density(model, terms):
    return model.density_at(LEVEL, 'ema', terms)(y())


def start(model, terms):
    return model.chain_start(y(), LEVEL, [1, 2], Draw(terms=terms))[1]


def test_classes_and_labels_of_the_networks():
    """The label 0 is no class."""
    classes = np.arange(-1, 10)
    np.testing.assert_array_equal(network_labels(classes), np.arange(11))
    np.testing.assert_array_equal(classes_of(network_labels(classes)), classes)


@pytest.mark.parametrize(('guidance', 'weights'), [(0.0, (1, 0)), (-1.0, (0, 1)), (2.0, (3, -2))])
@pytest.mark.parametrize('quantity', [density, start])
def test_guidance(quantity, guidance, weights):
    """f_w = (1 + w) f(class) - w f(no class), for the energy and for the proposal: 0 is conditional, -1
    unconditional."""
    model, labels = moved_model(CLASSES), tf.constant([1, 2, 3])
    with_class, without = quantity(model, ((labels, 1.0),)), quantity(model, UNCONDITIONAL)
    assert np.abs(with_class - without).max() > 1e-3
    expected = weights[0] * with_class + weights[1] * without
    np.testing.assert_allclose(
        quantity(model, guided(labels, guidance)), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
    )


def test_composition_has_one_prior():
    """F = F(none) + sum_i w_i (F(c_i) - F(none))."""
    model, labels = moved_model(CLASSES), [tf.fill([3], 1), tf.fill([3], 3)]
    first, second, none = (
        density(model, terms) for terms in (guided(labels[0]), guided(labels[1]), UNCONDITIONAL)
    )
    expected = none + 0.5 * (first - none) + 2 * (second - none)
    np.testing.assert_allclose(density(model, composed(labels, [0.5, 2.0])), expected, rtol=1e-3)


class GaussianClasses:
    """Stands in for a network: f of class c is delta^2 times a Gaussian log density of the class's mean and
    precision."""

    def __init__(self, means, precisions, delta):
        self.means, self.precisions, self.delta = tf.constant(means), tf.constant(precisions), delta

    def prepare(self, time, labels):
        return (tf.zeros(tf.shape(time), tf.int32) if labels is None else labels)[:, None, None, None]

    def __call__(self, y, labels):
        mean, precision = tf.gather(self.means, labels), tf.gather(self.precisions, labels)
        return -0.5 * self.delta**2 * tf.reduce_sum(precision * (y - mean) ** 2, axis=[1, 2, 3])


def test_composition_of_gaussians_samples_their_product():
    """A long chain at the top level reaches the analytic product's mean and variance, up to the chain's known
    bias."""
    model, size = build_model(CLASSES), 2000
    delta = model.schedule.delta[-1]
    model.ema_network = GaussianClasses([0.0, 1.0, -0.5], [1.0, 4.0, 3.0], delta)
    level = tf.fill([size], model.schedule.num_levels - 1)
    terms = composed([tf.fill([size], 1), tf.fill([size], 2)], [1.0, 0.5])
    start = noise.normal([1, 2], [size, 8, 8, 1])

    def step_noise(k):
        return noise.normal(noise.fold([3, 4], k), [size, 8, 8, 1])

    @functools.partial(tf.function, autograph=False)
    def chain():
        return conditionals.conditional_chain(
            model.schedule, model.density_at(level, 'ema', terms), start, start, level, 120, step_noise
        )[0]

    y = chain()
    precision = 1 + (4 - 1) + 0.5 * (3 - 1)
    mean = ((4 * 1.0 - 0) + 0.5 * (3 * -0.5 - 0)) / precision
    variance = 1 / (precision * (1 - delta**2 * precision / 4))
    np.testing.assert_allclose(np.mean(y), mean, atol=5 * np.sqrt(variance / np.size(y)))
    np.testing.assert_allclose(np.var(y), variance, rtol=5 * np.sqrt(2 / np.size(y)))
