"""Scores of images at noise levels: Gaussian data, whose gradients are known, and the relation to
denoising."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.gaussians import exact_density
from helpers.small_models import OPTIONS, moved_model

from drl_tf.core import denoising, diffusion, scores

X = np.random.default_rng(0).uniform(-1, 1, [5, 4, 4, 3]).astype(np.float32)
MEAN, VARIANCE = 0.2, 0.3


@pytest.mark.parametrize('schedule', [diffusion.t6(), diffusion.cosine(), diffusion.t1k()])
def test_scores_of_gaussian_data(schedule):
    """log p(x_t) of N(A mu, A^2 v + S^2) has the gradient -(x_t - A mu) / (A^2 v + S^2)."""
    last = schedule.num_levels - 1
    at_levels = [0, last // 2, last]
    density_at = exact_density(schedule, MEAN, VARIANCE)
    energy, gradient, maps = scores.scores(schedule, density_at, tf.constant(X), at_levels)
    A, S = schedule.A[at_levels], schedule.S[at_levels]
    variance = A**2 * VARIANCE + S**2
    scale = S * A / variance
    deviation = np.float64(X) - MEAN
    squares = np.sum(deviation**2, axis=(1, 2, 3))
    np.testing.assert_allclose(energy, squares[:, None] * A**2 / variance / 2, rtol=1e-4)
    np.testing.assert_allclose(gradient, np.sqrt(squares)[:, None] * scale, rtol=1e-4)
    pixel = np.sqrt(np.mean(deviation**2, axis=-1))
    np.testing.assert_allclose(maps, pixel[:, None] * scale[:, None, None], rtol=1e-4)


def test_the_gradient_is_what_denoising_changes():
    """x^ = (x_t + S_t g) / A_t is Tweedie's estimate, here of a network at level 0."""
    model = moved_model(OPTIONS)
    x = tf.constant(X[:, :, :, :1].repeat(2, 1).repeat(2, 2))
    level = tf.zeros([5], tf.int32)
    _, g = scores.level_scores(model.schedule, model.density_at, x, level)
    A, S = np.float32(model.schedule.A[0]), np.float32(model.schedule.S[0])
    expected = denoising.tweedie(model.schedule, model.density_at(level), A * x)
    np.testing.assert_allclose((A * x + S * g) / A, expected, atol=1e-5)
    assert np.abs(S * g).max() > 1e-4


def test_levels_are_those_of_the_walk_and_the_scoring_level():
    walk = diffusion.t1k().strided(3)
    assert scores.levels(walk, 0).tolist() == walk.levels.tolist() == [0, 333, 666]
    assert scores.levels(walk, 40).tolist() == [0, 40, 333, 666]
