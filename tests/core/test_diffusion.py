"""The noise schedule and the forward process against the paper's values and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.config.config import Config
from drl_tf.core import denoising, diffusion, noise

S_PAPER = [0.01, 0.32368022, 0.51649529, 0.63221107, 0.71324214, 0.77336903, 0.99974058]
CUMULATIVE_PAPER = [0.01, 0.32381848, 0.58621924, 0.77845287, 0.89801336, 0.96031419, 0.99997982]
DELTA_PAPER = [0.004578, 0.041565, 0.068455, 0.088996, 0.103644, 0.138551]


def test_t6_values():
    schedule = diffusion.t6()
    np.testing.assert_allclose(schedule.s, S_PAPER, rtol=0, atol=1e-7 / 2)
    np.testing.assert_allclose(schedule.S, CUMULATIVE_PAPER, rtol=0, atol=1e-7 / 2)
    np.testing.assert_allclose(schedule.delta, DELTA_PAPER, rtol=0, atol=1e-6 / 2)
    np.testing.assert_array_equal(schedule.conditional, [1, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(schedule.m, [*np.sqrt(1 - np.square(S_PAPER[1:6])), 1], atol=1e-7)
    assert schedule.loss_weight[0] == 1


@pytest.mark.parametrize('num_levels', [1, 2, 3, 11, 500])
def test_t6_with_another_number_of_levels(num_levels):
    schedule = diffusion.t6(num_levels)
    kept = np.cumprod(np.sqrt(1 - np.linspace(1e-4, 0.02, 1000)))
    assert schedule.num_levels == num_levels
    assert (schedule.s > 0).all() and np.isfinite(schedule.delta).all()
    np.testing.assert_allclose(schedule.A[[0, -1]], kept[[0, 999]], rtol=1e-9)


def test_karras_has_the_ends_of_its_options():
    options = Config().replace(schedule='karras', num_levels=4, sigma_min=0.1, sigma_max=6.0).diffusion
    sigma = np.tan(diffusion.chosen(options).angle)
    np.testing.assert_allclose(sigma[[0, -1]], [0.1, 6], rtol=1e-6)
    np.testing.assert_allclose(np.diff(sigma**0.25), np.diff(sigma**0.25).mean(), rtol=1e-6)
    assert len(sigma) == 5 and diffusion.chosen(options, 2).num_levels == 2


@pytest.mark.parametrize('shared', [False, True])
def test_forward_moments(shared):
    """Mean A x, variance S^2 at both levels; covariance a S^2 of the true process, S S' with shared noise."""
    schedule, size, t = diffusion.t6(), 400_000, 2
    eps, eps_next = (noise.normal([3, purpose], [size, 2, 2, 1]) for purpose in (0, 1))
    x, level = tf.fill([size, 2, 2, 1], 0.7), tf.fill([size], t)
    pair = diffusion.forward_pair(schedule, x, level, eps, None if shared else eps_next)
    x_t, x_next = (np.ravel(value) for value in pair)
    error = 5 / np.sqrt(x_t.size)
    np.testing.assert_allclose([x_t.mean(), x_next.mean()], 0.7 * schedule.A[t : t + 2], atol=error)
    np.testing.assert_allclose([x_t.var(), x_next.var()], schedule.S[t : t + 2] ** 2, atol=1.5 * error)
    covariance = schedule.S[t] * schedule.S[t + 1] if shared else schedule.a[t + 1] * schedule.S[t] ** 2
    np.testing.assert_allclose(np.cov(x_t, x_next)[0, 1], covariance, atol=1.5 * error)


def test_posterior_mean_weighs_both_ends_by_their_precision():
    """x_t ~ N(A x, S^2), of which x_{t+1} ~ N(a x_t, s^2) is an observation."""
    schedule, level = diffusion.cosine(), tf.range(6)
    x, x_next = (noise.normal([3, purpose], [6, 2, 2, 1]) for purpose in (0, 1))
    A, S, a, s = (
        np.reshape(v, [6, 1, 1, 1])
        for v in (schedule.A[:-1], schedule.S[:-1], schedule.a[1:], schedule.s[1:])
    )
    expected = (A * x / S**2 + a * x_next / s**2) / (1 / S**2 + a**2 / s**2)
    np.testing.assert_allclose(
        denoising.posterior_mean(schedule, x, x_next, level), expected, rtol=1e-4, atol=1e-5
    )


def test_noise_of_an_image_does_not_depend_on_the_batch():
    whole = noise.normal([1, 2], [10, 4, 4, 3]).numpy()
    np.testing.assert_array_equal(noise.normal([1, 2], [4, 4, 4, 3], first=3), whole[3:7])
    assert not np.array_equal(noise.normal([1, 3], [10, 4, 4, 3]), whole)
