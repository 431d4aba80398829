"""Exact energies against a mixture of Gaussians that NumPy adds up in float64."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import PRECONDITIONED

from drl_tf.core import diffusion
from drl_tf.core.build_model import build_model
from drl_tf.core.guidance import UNCONDITIONAL
from drl_tf.core.langevin import value_gradient
from drl_tf.core.sampling import Draw

COUNT = 12
CONFIG = PRECONDITIONED.replace(
    energy='exact', exact_images=COUNT, num_classes=3, final_denoise=True, noise_scale=1.0
)
LABELS = np.arange(COUNT) % 3 + 1


@pytest.fixture(scope='module')
def training_set():
    return np.random.default_rng(0).uniform(-1, 1, [COUNT, 8, 8, 1]).astype(np.float32)


@pytest.fixture(scope='module')
def model(training_set):
    model = build_model(CONFIG)
    for network in (model.network, model.ema_network):
        network.hold(training_set, LABELS)
    return model


def brute_force(x, angle, centres):
    """log p(x) and its gradient, by differences |x - A x_i| that are not expanded."""
    A, S = np.cos(np.float64(angle)), np.sin(np.float64(angle))
    difference = np.float64(x) - A * np.float64(centres)
    logs = -(difference**2).sum(axis=(1, 2, 3)) / (2 * S**2) - np.log(len(centres))
    logs -= x.size / 2 * np.log(2 * np.pi * S**2)
    log_p = logs.max() + np.log(np.exp(logs - logs.max()).sum())
    shares = np.exp(logs - log_p)
    return log_p, -np.tensordot(shares, difference, 1) / S**2


@pytest.mark.parametrize('kind', [None, 'classes'])
def test_log_densities_and_scores_are_those_of_the_mixture(model, training_set, kind):
    angles = np.float32([0.0074, 0.05, 0.3, 0.8, 1.2, 1.5])
    rng = np.random.default_rng(1)
    x = np.cos(angles)[:, None, None, None] * training_set[:6]
    x = np.float32(x + np.sin(angles)[:, None, None, None] * rng.normal(size=x.shape))
    asked = np.int32([0, 1, 2, 3, 0, 1])
    terms = UNCONDITIONAL if kind is None else ((tf.constant(asked), 1.0),)
    log_prob = model.log_prob_at(tf.constant(angles), 'raw', terms)
    scores = value_gradient(log_prob, tf.constant(x)).numpy()
    for index, found in enumerate(log_prob(tf.constant(x)).numpy()):
        of_class = (kind is None or asked[index] == 0) | (asked[index] == LABELS)
        expected, score = brute_force(x[index], angles[index], training_set[of_class & (LABELS > 0)])
        assert found == pytest.approx(expected, rel=2e-6, abs=1e-4)
        np.testing.assert_allclose(scores[index], score, rtol=1e-5, atol=1e-5 * np.abs(score).max())


def test_energies_are_of_y(model, training_set):
    """F(y_t, t) is the log density of y_t = m_t x_t."""
    level = tf.constant([0, 3, 5])
    y = tf.constant(training_set[:3])
    found = model.density_at(level)(y).numpy()
    for index, t in enumerate(level.numpy()):
        m = model.schedule.m[t]
        log_p, _ = brute_force(training_set[index] / m, model.schedule.angle[t], training_set)
        assert found[index] == pytest.approx(log_p - 64 * np.log(m), rel=1e-5, abs=1e-3)


def test_a_far_point_does_not_cancel(model, training_set):
    """Where |x|^2, 2 A <x, x_i> and A^2 |x_i|^2 nearly cancel, float32 would be wrong by a hundred nats."""
    angle = np.float32(0.0074)
    x = np.float32(training_set[:1] + 1e-5)
    found = model.log_prob_at(tf.constant([angle]))(tf.constant(x)).numpy()[0]
    assert found == pytest.approx(brute_force(x[0], angle, training_set)[0], abs=2e-4)


@pytest.mark.parametrize('steps', [0, 3])
def test_samples_are_training_images_of_their_class(training_set, steps):
    model = build_model(CONFIG.replace(mcmc_steps=(steps,), b2=1e-5))
    model.ema_network.hold(training_set, LABELS)
    wanted = tf.constant([1, 2, 3] * 4)
    images = model.sample(12, [0, 1], Draw(terms=((wanted, 1.0),)))[-1].numpy()
    distances = np.sqrt(((images[:, None] - training_set[None]) ** 2).mean(axis=(2, 3, 4)))
    assert distances.min(axis=1).max() < 0.02
    assert distances.mean() > 0.5
    np.testing.assert_array_equal(LABELS[distances.argmin(axis=1)], wanted)
    assert len(set(distances.argmin(axis=1))) > 3


def test_noise_hides_which_image_it_was(model, training_set):
    """At the highest noise, the mean of the clean image is the mean of the training set."""
    angle = tf.constant([diffusion.t1k().angle[-1]], tf.float32)
    x = tf.random.stateless_normal([1, 8, 8, 1], [1, 2])
    score = value_gradient(model.log_prob_at(angle), x)
    A, S = np.cos(angle.numpy()), np.sin(angle.numpy())
    np.testing.assert_allclose((x + S**2 * score) / A, training_set.mean(axis=0)[None], atol=0.05)
