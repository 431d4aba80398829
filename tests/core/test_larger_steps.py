"""Langevin chains with fewer, larger steps, against the exact linear recursion of a Gaussian."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.gaussians import exact_density, gaussian, recursion
from helpers.tiny import refused

from drl_tf.config.config import Config
from drl_tf.core import diffusion, larger_steps, noise, sampling
from drl_tf.core.langevin import langevin

SEED = [7, 8]
SHAPE = [20_000, 2, 2, 1]
COUNT = 80_000


def standard_noise(k):
    return noise.normal(noise.fold(SEED, k), SHAPE)


def moments(precision, half, beta, num_steps, start=1.0):
    """Mean and variance after K steps y <- y - h l ((1 + b) y - b y') + sqrt(2 h) z from `start`.

    The state (y_k, y_{k-1}) is linear in the one before; the first step has b = 0.
    """
    mean, covariance = np.full(2, start), np.zeros([2, 2])
    for k in range(num_steps):
        b = beta if k else 0.0
        move = np.array([[1 - half * precision * (1 + b), half * precision * b], [1.0, 0.0]])
        mean = move @ mean
        covariance = move @ covariance @ move.T + np.diag([2 * half, 0.0])
    return mean[0], covariance[0, 0]


def beta_of(mcmc_steps, sampling_steps):
    """The beta of the rule ab2 at every level of t6."""
    config = Config().replace(mcmc_steps=(mcmc_steps,), sampling_steps=(sampling_steps,), langevin_rule='ab2')
    (beta,) = set(larger_steps.beta(config, diffusion.t6()).tolist())
    return beta


def test_two_steps_without_noise():
    y = noise.normal(SEED, [3, 2, 2, 1])
    found, _ = langevin(gaussian(0.5, 3.0), y, 0.4, 2, lambda k: tf.zeros_like(y), beta=0.3)
    first = y - 0.08 * 3 * (y - 0.5)
    expected = first - 0.08 * 3 * (1.3 * (first - 0.5) - 0.3 * (y - 0.5))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('num_steps', [1, 2, 5])
def test_chains_follow_the_linear_recursion(num_steps):
    precision, delta, beta = 4.0, 0.4, 0.4
    start = tf.ones(SHAPE)
    y, _ = langevin(gaussian(0.0, precision), start, delta, num_steps, standard_noise, beta=beta)
    mean, variance = moments(precision, delta**2 / 2, beta, num_steps)
    np.testing.assert_allclose(np.mean(y), mean, atol=5 * np.sqrt(variance / COUNT))
    np.testing.assert_allclose(np.var(y), variance, rtol=5 * np.sqrt(2 / COUNT))


@pytest.mark.parametrize(('precision', 'delta', 'beta'), [(2.0, 0.6, 0.4), (10.0, 0.3, 0.25)])
def test_stationary_variance_is_the_closed_form(precision, delta, beta):
    y, _ = langevin(gaussian(0.0, precision), tf.zeros(SHAPE), delta, 60, standard_noise, beta=beta)
    a = precision * delta**2 / 2
    expected = 2 * (1 - a * beta) / (precision * (1 + a * beta) * (2 - a - 2 * a * beta))
    np.testing.assert_allclose(np.var(y), expected, rtol=5 * np.sqrt(2 / COUNT))
    assert moments(precision, delta**2 / 2, beta, 2000)[1] == pytest.approx(expected, rel=1e-6)


def test_large_steps_come_closer_to_the_chains_of_training():
    """Six times fewer steps, in the same time: 5 steps with beta end nearer to 30 plain steps than 5 plain
    steps do, in mean and variance, where delta^2 l / 2 of the larger steps is at most 0.4."""
    half = 1 / 30
    for precision in (0.5, 1.0, 2.0):
        trained = np.array(moments(precision, half, 0.0, 30))
        plain = np.array(moments(precision, 6 * half, 0.0, 5))
        corrected = np.array(moments(precision, 6 * half, beta_of(30, 5), 5))
        assert (abs(corrected - trained) < 0.6 * abs(plain - trained)).all()


def walked(schedule, variance, few, beta):
    """Variance of x_0 for centred Gaussian data, when each level runs `few` steps in the time of 30."""
    second = 1.0
    for t in reversed(range(schedule.num_levels)):
        m, A, S, half = schedule.m[t], schedule.A[t], schedule.S[t], 30 / few * schedule.delta[t] ** 2 / 2
        tether = schedule.conditional[t] / schedule.s[t + 1] ** 2
        precision = 1 / (m**2 * (A**2 * variance + S**2)) + tether
        # y - centre x_{t+1} starts at (1 - centre) x_{t+1}; both are linear in x_{t+1}.
        centre = tether / precision
        shift, spread = moments(precision, half, beta, few, start=1 - centre)
        second = ((centre + shift) ** 2 * second + spread) / m**2
    return second


def test_30_gradients_do_the_work_of_180():
    """Six levels of t6 on Gaussian data: the variance of x_0 after 5 steps a level, not 30."""
    schedule = diffusion.t6()
    for variance, plain_error in ((0.25, -0.0531), (0.05, -0.0615), (0.01, -0.0603)):
        trained = walked(schedule, variance, 30, 0.0)
        assert trained == pytest.approx(recursion(schedule, 0.0, variance, 30)[1])
        plain = walked(schedule, variance, 5, 0.0) - trained
        assert plain == pytest.approx(plain_error, abs=1e-4)
        assert abs(walked(schedule, variance, 5, beta_of(30, 5)) - trained) < 0.07 * abs(plain)


def test_the_stationary_variance_is_that_of_training_in_first_order():
    """The error in the variance is of second order in the step: half the step, a quarter of the error."""
    errors = []
    for half in (0.02, 0.01):
        trained = moments(1.0, half / 4, 0.0, 4000)[1]
        errors.append(abs(moments(1.0, half, beta_of(20, 5), 1000)[1] - trained))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_each_image_has_its_own_beta_and_number_of_steps():
    y = noise.normal(SEED, [3, 2, 2, 1])
    steps, betas, sizes = [4, 1, 3], [0.0, 0.4, 0.25], [0.1, 0.2, 0.3]

    def draw(k):
        return noise.normal(noise.fold(SEED, k), y.shape)

    shaped = (tf.reshape(each, [3, 1, 1, 1]) for each in (sizes, steps, betas))
    size, count, beta = shaped
    together, _ = langevin(gaussian(0.5, 3.0), y, size, count, draw, beta=beta)
    for image in range(3):
        alone, _ = langevin(
            gaussian(0.5, 3.0), y, sizes[image], steps[image], draw, beta=betas[image] or None
        )
        np.testing.assert_allclose(together[image], alone[image], rtol=1e-6)


@pytest.mark.parametrize('rule', ['plain', 'ab2'])
def test_a_level_of_the_sampler_follows_the_recursion(rule):
    """`recover` at level 2 of t6 with K' = 5 of K = 30, on Gaussian data, from a fixed x_{t+1}."""
    level, mean, variance = 2, 0.0, 0.25
    config = Config().replace(sampling_steps=(5,), langevin_rule=rule)
    schedule = diffusion.t6()
    sampler = sampling.Sampler(
        schedule,
        exact_density(schedule, mean, variance),
        steps_at=larger_steps.steps_at(config, schedule),
        step_scale=larger_steps.scale(config, schedule),
        beta=larger_steps.beta(config, schedule),
    )
    x_next = tf.ones(SHAPE)
    x, _ = tf.function(sampler.recover, autograph=False)(x_next, tf.fill(SHAPE[:1], level), SEED)
    m, A, S = schedule.m[level], schedule.A[level], schedule.S[level]
    tether = 1 / schedule.s[level + 1] ** 2
    precision = 1 / (m**2 * (A**2 * variance + S**2)) + tether
    centre = tether / precision
    beta = (1 - 1 / 6) / 2 if rule == 'ab2' else 0.0
    shift, spread = moments(precision, 6 * schedule.delta[level] ** 2 / 2, beta, 5, start=1.0 - centre)
    np.testing.assert_allclose(np.mean(x), (centre + shift) / m, atol=5 * np.sqrt(spread / COUNT) / m)
    np.testing.assert_allclose(np.var(x), spread / m**2, rtol=5 * np.sqrt(2 / COUNT))


def test_steps_that_are_not_larger_change_no_bit():
    """The default has neither a factor nor a beta; K' = K has the factor 1, and ab2 then beta = 0."""
    schedule = diffusion.t6()
    default = Config()
    assert larger_steps.scale(default, schedule) == 1.0 and isinstance(
        larger_steps.scale(default, schedule), float
    )
    assert larger_steps.beta(default, schedule) is None
    as_many = default.replace(sampling_steps=(30, 30, 30, 30, 30, 15), langevin_rule='ab2')
    drawn = []
    for config in (default, as_many):
        sampler = sampling.Sampler(
            schedule,
            exact_density(schedule, 0.3, 0.25),
            steps_at=larger_steps.steps_at(config, schedule),
            step_scale=larger_steps.scale(config, schedule),
            beta=larger_steps.beta(config, schedule),
        )
        drawn.append(sampler.recover(tf.ones([4, 2, 2, 1]), tf.constant([0, 1, 3, 4]), SEED)[0].numpy())
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--sampling_steps=3,5'], ['--sampling_steps=3,5', '--num_levels=6']),
        (['--sampling_steps=0'], ['--sampling_steps=0', 'at least 1']),
        (['--langevin_rule=ab3'], ['--langevin_rule=ab3', 'plain, ab2']),
        (['--langevin_rule=ab2'], ['--langevin_rule=ab2', '--sampling_steps', '--mcmc_steps=30']),
        (['--langevin_rule=ab2', '--sampling_steps=1'], ['--langevin_rule=ab2', '--sampling_steps from 2']),
        (['--langevin_rule=ab2', '--sampling_steps=60'], ['--langevin_rule=ab2', '--mcmc_steps=30']),
        (['--sampling_steps=5', '--corrector=mala'], ['--sampling_steps=5', 'delta_t']),
        (['--sampling_steps=5', '--corrector_step=0.1'], ['--sampling_steps=5', 'delta_t']),
        (['--sampling_steps=5', '--mcmc_steps=0', '--schedule=t1k'], ['--sampling_steps=5', 'delta_t']),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(capsys, options, words):
    line = refused(capsys, '--dataset=digits', '--recipe=t6', '--mcmc_steps=30', '--dry_run', *options)
    assert all(word in line for word in words), line


def test_a_sweep_over_steps_sets_them_itself(capsys):
    line = refused(capsys, '--mode=sweep_steps', '--workdir=w', '--sampling_steps=5')
    assert '--sampling_steps is for' in line
