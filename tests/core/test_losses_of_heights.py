"""Losses of heights against Gaussian data, whose log densities are known at all noise levels."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import PRECONDITIONED

from drl_tf.core import diffusion, noise, objectives
from drl_tf.core.batch import Batch
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.training.optimizers import compiled_model

STD = 0.5
D = 16
LOW, HIGH = diffusion.cosine().angle[[0, -1]].tolist()


def log_snr(angle):
    return -2 * tf.math.log(tf.tan(angle))


FUNCTIONS = (
    lambda angle: log_snr(angle) / 3,
    lambda angle: tf.sin(3 * angle),
    lambda angle: tf.cos(5 * angle),
)


def log_p(x, angle, coefficients):
    """Log densities that are off by a sum of `FUNCTIONS` of the level, float32 [B]."""
    variance = tf.cos(angle) ** 2 * STD**2 + tf.sin(angle) ** 2
    offsets = [c * f(angle) for c, f in zip(tf.unstack(coefficients, axis=1), FUNCTIONS, strict=True)]
    exact = -tf.reduce_sum(x**2, axis=1) / (2 * variance) - D / 2 * tf.math.log(variance)
    return exact + tf.add_n(offsets)


def gradients(offset):
    """First and second derivatives of the losses in each coefficient, [B, 3]; the first one is `offset`."""
    u = tf.linspace(LOW, HIGH, 100_000)
    v = tf.minimum(tf.atan(1.5 * tf.tan(u)), HIGH)
    rng = np.random.default_rng(0)
    clean, eps = tf.constant(rng.normal(size=[2, len(u), D]) * [[[STD]], [[1.0]]], tf.float32)
    x_u, x_v = (tf.cos(a)[:, None] * clean + tf.sin(a)[:, None] * eps for a in (u, v))
    coefficients = tf.tile([[offset, 0.0, 0.0]], [len(u), 1])
    with tf.GradientTape() as tape:
        tape.watch(coefficients)
        lead = log_p(x_u, u, coefficients) - log_p(x_u, v, coefficients)
        other_lead = log_p(x_v, v, coefficients) - log_p(x_v, u, coefficients)
        losses = objectives.level_classification(lead, other_lead)
    slope = sum(tf.sigmoid(each) * tf.sigmoid(-each) for each in (lead, other_lead)).numpy() / 2
    difference = np.stack([f(u) - f(v) for f in FUNCTIONS], axis=1)
    return tape.gradient(losses, coefficients).numpy(), slope[:, None] * difference**2


def test_the_true_log_densities_are_stationary():
    found, _ = gradients(0.0)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0)) < 4 * error), found.mean(axis=0) / error


@pytest.mark.parametrize('offset', [-0.1, 0.1])
def test_a_wrong_height_is_pulled_back(offset):
    """By the offset times the curvature."""
    found, curvature = gradients(offset)
    error = found[:, 0].std() / np.sqrt(len(found))
    assert found[:, 0].mean() == pytest.approx(offset * curvature[:, 0].mean(), abs=4 * error)
    assert abs(found[:, 0].mean()) > 15 * error


def test_its_gradient_is_the_probability_of_the_wrong_level():
    lead = tf.constant([0.0, 1.0, -2000.0, 2000.0])
    with tf.GradientTape() as tape:
        tape.watch(lead)
        losses = objectives.level_classification(lead, tf.zeros(4))
    expected = np.array([np.log(2), np.log1p(np.exp(-1)), 2000, 0])
    np.testing.assert_allclose(losses, (expected + np.log(2)) / 2, rtol=1e-6)
    wrong = np.array([0.5, 1 / (1 + np.e), 1, 0])
    np.testing.assert_allclose(tape.gradient(losses, lead), -wrong / 2, rtol=1e-6)


class Heights(keras.layers.Layer):
    """e of an energy whose height is a piecewise linear function of the log-SNR, and nothing else."""

    def __init__(self, heights, **kwargs):
        super().__init__(**kwargs)
        self.heights = self.add_weight(shape=(len(heights),), name='heights')
        self.heights.assign(heights)

    def prepare(self, time, labels=None):
        last = self.heights.shape[0] - 1
        share = (log_snr(tf.atan(tf.exp(time / 4))) - log_snr(HIGH)) / (log_snr(LOW) - log_snr(HIGH))
        weights = tf.nn.relu(1 - tf.abs(last * share[:, None] - tf.range(last + 1.0)))
        return -tf.exp(time / 4) / STD * tf.linalg.matvec(weights, self.heights)

    def call(self, w, prepared, dropout=None, remat=False):
        return prepared


def step_of(model, variable, optimizer):
    """A function of the number of a step, which trains the only variable of a model on Gaussian data."""

    @functools.partial(tf.function, autograph=False)
    def learn(index):
        seed = noise.fold([0, 1], index)
        level, angle = model.draw_levels(seed)
        clean = STD * noise.normal(noise.fold(seed, 100), [512, *model.config.image_shape])
        _, gradients = model.losses_and_gradients(Batch(clean, level, None, seed, 0, angle))['loss']
        optimizer.apply(gradients, [variable])

    return learn


@pytest.mark.parametrize(
    ('levels', 'loss'),
    [
        (dict(levels='continuous'), 'level_classification'),
        (dict(levels='walk', num_levels=30), 'level_classification'),
        (dict(levels='walk', num_levels=30), 'recovery_nce'),
    ],
)
def test_training_finds_the_heights(levels, loss):
    """A loss leaves the heights alone in the first `heights_after` steps, and then brings them to those of
    the exact densities, up to a constant."""
    size = dict(image_size=4, batch_size=512)
    config = PRECONDITIONED.replace(**size, heights_after=1, **{loss: 1.0}, **levels)
    model = compiled_model(config)
    model.network = PreconditionedEnergy(
        Heights([0.0, 3.0, -5.0, 10.0]), config.image_shape, mean=0.0, std=STD
    )
    heights = model.network.network.heights
    optimizer = keras.optimizers.Adam(0.3, beta_2=0.99)
    learn = step_of(model, heights, optimizer)
    learn(tf.constant(0))
    np.testing.assert_array_equal(heights, [0, 3, -5, 10])
    model.optimizer.iterations.assign(1)
    for index in tf.range(150):
        learn(index)
        optimizer.learning_rate.assign(0.3 if index < 80 else 0.03)
    np.testing.assert_allclose(heights - heights[0], 0, atol=0.5)


class Bump(keras.layers.Layer):
    """e of an energy that is `height` nats too low for bright images at the lowest noise.

    The error grows with the log-SNR, from 0 at the highest noise. For other images the energy is exact.
    """

    def __init__(self, height, **kwargs):
        super().__init__(**kwargs)
        self.height = self.add_weight(shape=(), name='height')
        self.height.assign(height)

    def prepare(self, time, labels=None):
        angle = tf.atan(tf.exp(time / 4))
        share = (log_snr(angle) - log_snr(HIGH)) / (log_snr(LOW) - log_snr(HIGH))
        return tf.exp(time / 4) / STD, share

    def call(self, w, prepared, dropout=None, remat=False):
        scale, share = prepared
        bright = tf.sigmoid(60 * (tf.reduce_mean(w, axis=[1, 2, 3]) - 0.7))
        return -scale * share * bright * self.height


@pytest.mark.parametrize(('loss', 'low', 'high'), [('recovery_off_data', -6, 6), ('recovery_nce', 59, 61)])
def test_images_unlike_the_data_get_their_weight_from_higher_noise(loss, low, high):
    """Bright images are 60 nats too dense at low noise. Losses on data alone do not see this."""
    config = PRECONDITIONED.replace(batch_size=512, **{loss: 1.0}, levels='continuous')
    model = compiled_model(config)
    model.network = PreconditionedEnergy(Bump(60.0), config.image_shape, mean=0.0, std=STD)
    height = model.network.network.height
    optimizer = keras.optimizers.Adam(8.0, beta_2=0.99)
    learn = step_of(model, height, optimizer)
    for index in tf.range(80):
        learn(index)
        optimizer.learning_rate.assign(8.0 if index < 50 else 1.0)
    assert low < float(height) < high


def test_images_unlike_the_data():
    """About half have another contrast and brightness, the others are shifted; each depends on its index."""
    x = np.random.default_rng(0).uniform(-1, 1, [40, 4, 8, 1]).astype(np.float32)
    found = Batch(tf.constant(x), None, None, [1, 2], 10).off_data().numpy()
    shifted = [
        any(np.array_equal(new, np.roll(old, shift, axis=1)) for shift in range(1, 8))
        for new, old in zip(found, x, strict=True)
    ]
    assert 10 < sum(shifted) < 30
    for new, old in zip(found[np.invert(shifted)], x[np.invert(shifted)], strict=True):
        inside = np.abs(new) < 1
        line = np.polyfit(old[inside], new[inside], 1)
        np.testing.assert_allclose(new, np.clip(np.polyval(line, old), -1, 1), atol=1e-3)
        assert np.all(np.abs(line) < 1)
    alone = Batch(tf.constant(x[3:]), None, None, [1, 2], 13).off_data()
    np.testing.assert_array_equal(alone, found[3:])
