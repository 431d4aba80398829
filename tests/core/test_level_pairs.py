"""Pairs of neighbouring noise levels, against Gaussian data, whose densities are known."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.core import level_pairs, noise, objectives
from drl_tf.core.level_pairs import LevelPair

STD = 0.5
SHAPE = (4, 4, 1)
D = 16
ANGLES = [(0.01, 0.011), (0.3, 0.5), (1.2, 1.5)]


def spread(angle):
    """The variance of a pixel of a noisy image."""
    return np.cos(angle) ** 2 * STD**2 + np.sin(angle) ** 2


def log_p(x, angle):
    return -D / 2 * np.log(2 * np.pi * spread(angle)) - np.sum(np.float64(x) ** 2, (1, 2, 3)) / 2 / spread(
        angle
    )


def pair_of(angle, above, count):
    return LevelPair(tf.fill([count], np.float32(angle)), tf.fill([count], np.float32(above)))


def normal(purpose, count=20_000):
    return noise.normal([0, purpose], [count, *SHAPE])


def drawn(angle, above):
    """Clean images, x_t, x_{t+1} and the pair of their levels."""
    clean, eps, more = STD * normal(1), normal(2), normal(3)
    pair = pair_of(angle, above, len(clean))
    x = np.cos(angle) * clean + np.sin(angle) * eps
    return clean, x, level_pairs.draw(*pair.forward(x), more), pair


@pytest.mark.parametrize('angles', ANGLES)
def test_the_way_up_adds_the_noise_of_the_level_above(angles):
    a, variance = pair_of(*angles, 1).forward(tf.ones([1, 1, 1, 1]))
    np.testing.assert_allclose(a * np.cos(angles[0]), np.cos(angles[1]), rtol=1e-5)
    np.testing.assert_allclose(a**2 * np.sin(angles[0]) ** 2 + variance, np.sin(angles[1]) ** 2, rtol=1e-4)


@pytest.mark.parametrize('angles', ANGLES)
def test_the_posterior_has_the_moments_of_the_data(angles):
    """x_t minus its mean given clean image and x_{t+1} has the stated variance and depends on neither."""
    clean, x, x_above, pair = drawn(*angles)
    mean, variance = pair.posterior(clean, x_above)
    rest = np.float64(x - mean)
    assert np.var(rest) == pytest.approx(float(variance[0]), rel=0.02)
    for other in (clean, x_above):
        assert abs(np.corrcoef(rest.ravel(), np.ravel(other))[0, 1]) < 0.01


@pytest.mark.parametrize('angles', ANGLES)
def test_the_ratio_is_one_for_exact_scores(angles):
    """Where |score|^2 has its mean value, the proposal is the exact conditional: the log ratio of the joint
    densities vanishes for every x_t."""
    angle, above = angles
    direction = normal(4, 50)
    x_above = direction * np.sqrt(D * spread(above)) / tf.norm(direction, axis=[1, 2], keepdims=True)
    pair = pair_of(angle, above, 50)
    mean, variance = pair.proposal(-x_above / spread(above), x_above)
    x = level_pairs.draw(mean, 2 * variance, normal(5, 50))
    log_ratio = log_p(x, angle) - log_p(x_above, above) + pair.log_ratio(x, x_above, mean, variance)
    np.testing.assert_allclose(log_ratio, 0, atol=5e-3)


@pytest.mark.parametrize('error', [0.0, 0.5, 1.0])
def test_the_mean_ratio_is_one_for_wrong_scores(error):
    """E[exp(log ratio)] over pairs of the model is one, however wrong its proposal is."""
    angle, above = 0.3, 0.34
    x_above = np.sqrt(spread(above)) * normal(6)
    pair = pair_of(angle, above, len(x_above))
    mean, variance = pair.proposal(-(1 + error) * x_above / spread(above) + error, x_above)
    x = level_pairs.draw(mean, variance, normal(7))
    log_ratio = log_p(x, angle) - log_p(x_above, above) + pair.log_ratio(x, x_above, mean, variance)
    ratio = np.exp(log_ratio)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio)) < 0.3
    assert ratio.std() > 0.02 * error


@pytest.mark.parametrize('offset', [-0.1, 0.0, 0.1])
def test_the_loss_pulls_heights_to_the_true_ones(offset):
    """With a crude proposal: the gradient in a height is the offset times the curvature."""
    angle, above = 0.3, 0.4
    _, x, x_above, pair = drawn(angle, above)
    mean, variance = pair.proposal(-0.8 * x_above / spread(above), x_above)
    proposed = level_pairs.draw(mean, variance, normal(8))
    height = tf.fill([len(x)], offset)
    with tf.GradientTape() as tape:
        tape.watch(height)
        ratios = [
            tf.constant(log_p(each, angle) - log_p(x_above, above), tf.float32)
            + pair.log_ratio(each, x_above, mean, variance)
            + height
            for each in (x, proposed)
        ]
        losses = objectives.recovery_nce(*ratios)
    gradient = tape.gradient(losses, height).numpy()
    curvature = sum(tf.sigmoid(ratio) * tf.sigmoid(-ratio) for ratio in ratios).numpy() / 2
    error = gradient.std() / np.sqrt(len(gradient))
    assert gradient.mean() == pytest.approx(offset * curvature.mean(), abs=4 * error)
    assert abs(offset * curvature.mean()) > 8 * error or not offset
