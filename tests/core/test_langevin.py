"""Langevin dynamics against what is known of Gaussians."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.gaussians import exact_density, gaussian, recursion

from drl_tf.config import config
from drl_tf.core import diffusion, noise, sampling
from drl_tf.core.build_model import build_model
from drl_tf.core.langevin import langevin

SEED = [7, 8]


def standard_noise(shape):
    return lambda k: noise.normal(noise.fold(SEED, k), shape)


def test_one_step_without_noise_is_the_gradient_step():
    y = noise.normal(SEED, [3, 2, 2, 1])
    moved, gradient = langevin(gaussian(0.5, 3.0), y, 0.2, 1, lambda k: tf.zeros_like(y))
    np.testing.assert_allclose(gradient, -3 * (y - 0.5), rtol=1e-6)
    np.testing.assert_allclose(moved, y - 0.2**2 / 2 * 3 * (y - 0.5), rtol=1e-6)


@pytest.mark.parametrize(('precision', 'step_size'), [(2.0, 0.8), (10.0, 0.5)])
def test_stationary_distribution(precision, step_size):
    """Mean and variance 1 / (l (1 - delta^2 l / 4)), far from 1 / l at these step sizes."""
    shape = [20_000, 2, 2, 1]
    y, _ = langevin(gaussian(1.5, precision), tf.zeros(shape), step_size, 60, standard_noise(shape))
    variance = 1 / (precision * (1 - step_size**2 * precision / 4))
    np.testing.assert_allclose(np.mean(y), 1.5, atol=5 * np.sqrt(variance / 80_000))
    np.testing.assert_allclose(np.var(y), variance, rtol=5 * np.sqrt(2 / 80_000))


def test_k_steps_cost_k_gradients():
    evaluations = tf.Variable(0)

    def log_prob(y):
        evaluations.assign_add(1)
        return -tf.reduce_sum(y**2, axis=[1, 2, 3])

    shape = [1, 2, 2, 1]
    chain = tf.function(langevin, autograph=False)
    chain(log_prob, tf.ones(shape), 0.1, 17, standard_noise(shape))
    assert int(evaluations) == 17


def test_each_image_runs_its_own_number_of_steps():
    """Images that are done keep their state and their last gradient while the longest chain goes on."""
    y = noise.normal(SEED, [3, 2, 2, 1])
    steps = tf.reshape([4, 0, 2], [3, 1, 1, 1])
    together = langevin(gaussian(0.5, 3.0), y, 0.2, steps, standard_noise(y.shape))
    for image, k in enumerate([4, 0, 2]):
        alone = langevin(gaussian(0.5, 3.0), y, 0.2, k, standard_noise(y.shape))
        for mine, expected in zip(together, alone, strict=True):
            np.testing.assert_array_equal(mine[image], expected[image])


def test_no_steps_leave_the_start():
    y = tf.ones([1, 2, 2, 1])
    moved, gradient = langevin(gaussian(0.0, 1.0), y, 0.1, 0, standard_noise(y.shape))
    np.testing.assert_array_equal(moved, y)
    np.testing.assert_array_equal(gradient, tf.zeros_like(y))


def draw(num_steps, mean, variance, size=50_000):
    schedule, shape = diffusion.t6(), [size, 2, 2, 1]

    density_at = exact_density(schedule, mean, variance)
    sampler = sampling.Sampler(schedule, density_at, steps_at=lambda level: num_steps)
    recover = tf.function(sampler.recover, autograph=False)

    def descend(x, high, low):
        return recover(x, tf.fill([size], low), noise.fold(SEED, noise.LANGEVIN, low))[0]

    return sampling.progressive(descend, noise.normal(SEED, shape), schedule.num_levels)[-1].numpy()


@pytest.mark.parametrize('num_steps', [1, 10, 30])
def test_progressive_sampling_follows_the_recursion(num_steps):
    mean, variance = 0.3, 0.25
    x = draw(num_steps, mean, variance)
    expected_mean, expected_variance = recursion(diffusion.t6(), mean, variance, num_steps)
    np.testing.assert_allclose(x.mean(), expected_mean, atol=5 * np.sqrt(expected_variance / x.size))
    np.testing.assert_allclose(x.var(), expected_variance, rtol=5 * np.sqrt(2 / x.size))


@pytest.mark.parametrize(('mcmc_steps', 'total'), [((9,), 18), ((9, 4), 13)])
def test_all_noises_of_a_sample_differ(monkeypatch, mcmc_steps, total):
    """Prior, proposal and every step of every level draw noise of their own, and each level runs its own
    K."""
    options = config.Config().replace(
        image_size=4, image_channels=1, channels=4, num_res_blocks=1, channel_mult=(1,),
        mcmc_steps=mcmc_steps, num_levels=2,
        initializer=True,
        initializer_channels=8, initializer_mult=(1,), initializer_blocks=1,
    )  # fmt: skip
    draws = []

    def recorded(seed, shape, first=0):
        draws.append(tuple(np.array(seed)))
        return tf.zeros(shape)

    tf.config.run_functions_eagerly(True)
    monkeypatch.setattr(noise, 'normal', recorded)
    try:
        build_model(options).sample(1, [1, 2])
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(draws) == 1 + 2 + total and len(set(draws)) == len(draws)
