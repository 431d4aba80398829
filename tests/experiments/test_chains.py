"""Long chains against Gaussians, whose covariance is known, and against themselves cut in two."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.core import conditionals, diffusion, noise
from drl_tf.core.langevin import value_gradient
from drl_tf.experiments import chains

SEED = [5, 6]
SHAPE = [2000, 2, 2, 1]


@functools.cache
def correlated():
    """A Gaussian of four numbers, its mean and covariance."""
    root = np.random.default_rng(0).normal(size=[4, 4])
    mean, covariance = np.array([1.0, -1.0, 0.5, 0.0]), root @ root.T / 4 + 0.3 * np.eye(4)
    precision = tf.constant(np.linalg.inv(covariance), tf.float32)

    def log_prob(y):
        x = tf.reshape(y, [-1, 4]) - tf.constant(mean, tf.float32)
        return -0.5 * tf.reduce_sum((x @ precision) * x, axis=1)

    return log_prob, mean, covariance


@functools.cache
def advance_by(*settings):
    """Advances chains of the kernel of these settings; runs of the same settings share its graph."""

    @tf.function
    def advance(y, results, first, count):
        return chains.advance(chains.kernel(*settings), y, results, SEED, first, count)

    return advance


def run(log_prob, y, count, method, step_size, leapfrogs=3, burn_in=60, parts=()):
    """The end of chains, their results, and energies and acceptance all along; `parts` cuts them."""
    advance = advance_by(log_prob, method, step_size, leapfrogs, burn_in)
    results = chains.kernel(log_prob, method, step_size, leapfrogs, burn_in).bootstrap_results(y)
    first, energies, accepted = 0, [], []
    for last in (*parts, count):
        y, results, *seen = advance(y, results, tf.constant(first), tf.constant(last - first))
        energies.append(seen[0])
        accepted.append(seen[1])
        first = last
    return y, results, np.concatenate(energies), np.concatenate(accepted)


@pytest.mark.parametrize(('method', 'count'), [('hmc', 120), ('mala', 250)])
def test_corrected_chains_reach_the_covariance(method, count):
    """Whatever step size they begin with; it ends at an acceptance within 0.6 to 0.9, and stays."""
    log_prob, mean, covariance = correlated()
    y, results, energies, accepted = run(log_prob, tf.zeros(SHAPE), count, method, 0.02)
    x = np.reshape(y, [-1, 4])
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=5 * np.sqrt(covariance.max() / len(x)))
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=5 * covariance.max() * np.sqrt(2 / len(x)))
    assert 0.6 < accepted[60:].mean() < 0.9 and 0.05 < chains.step_size(results) < 2
    np.testing.assert_allclose(energies[-1], -log_prob(y), rtol=1e-5)
    again = run(log_prob, tf.zeros(SHAPE), 61, method, 0.02)[1]
    assert chains.step_size(again) == chains.step_size(results)


def test_uncorrected_chains_keep_their_bias():
    """The stationary variance 1 / (l (1 - delta^2 l / 4)) of each dimension."""
    precision = np.array([1.0, 2.0, 4.0, 6.0])

    def log_prob(y):
        return -0.5 * tf.reduce_sum(tf.constant(precision, tf.float32) * tf.reshape(y, [-1, 4]) ** 2, axis=1)

    y, results, _, accepted = run(log_prob, tf.zeros([20_000, 2, 2, 1]), 80, 'langevin', 0.6)
    expected = 1 / (precision * (1 - 0.6**2 * precision / 4))
    np.testing.assert_allclose(np.var(np.reshape(y, [-1, 4]), axis=0), expected, rtol=5 * np.sqrt(2 / 20_000))
    assert accepted.all() and chains.step_size(results) is None


def test_mala_is_mala():
    """It proposes y + delta^2 / 2 grad log p(y) + delta z, and accepts by the densities of the step there and
    the step back."""
    log_prob, _, _ = correlated()
    y, delta = noise.normal(SEED, [8, 2, 2, 1]), 0.5
    kernel = chains.kernel(log_prob, 'mala', delta, 3, 0)
    results = kernel.one_step(y, kernel.bootstrap_results(y), seed=SEED)[1].inner_results
    there, back = (
        state + delta**2 / 2 * value_gradient(log_prob, state) for state in (y, results.proposed_state)
    )
    forth = (results.proposed_state - there) / delta
    assert 0.5 < np.std(forth) < 1.5
    ratio = tf.reduce_sum(forth**2 - (y - back) ** 2 / delta**2, axis=[1, 2, 3]) / 2
    expected = log_prob(results.proposed_state) - log_prob(y) + ratio
    np.testing.assert_allclose(results.log_accept_ratio, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(kernel.inner_kernel.num_leapfrog_steps, 1)


@pytest.mark.parametrize('method', ['hmc', 'mala', 'langevin'])
def test_chains_that_are_cut_end_as_others(method):
    """Bit for bit, also within the burn-in."""
    log_prob, _, _ = correlated()
    y = noise.normal(SEED, [6, 2, 2, 1])
    whole = run(log_prob, y, 40, method, 0.1, burn_in=20)
    parted = run(log_prob, y, 40, method, 0.1, burn_in=20, parts=(1, 13, 30))
    for mine, expected in zip(tf.nest.flatten(parted), tf.nest.flatten(whole), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_chains_on_a_conditional():
    """HMC on p(y_t | x_{t+1}) of a Gaussian model draws from the Gaussian that the tether makes of it."""
    schedule, level = diffusion.t6(), tf.fill([4000], 2)
    precision, tether = 1.7, schedule.s[3] ** -2
    x_next = tf.broadcast_to(tf.reshape([0.5, -1.0, 2.0, 0.0], [1, 2, 2, 1]), [4000, 2, 2, 1])
    log_prob = conditionals.conditional(
        schedule, lambda y: -0.5 * precision * tf.reduce_sum(y**2, axis=[1, 2, 3]), x_next, level
    )
    y, _, _, _ = run(log_prob, x_next, 80, 'hmc', 0.1)
    variance = 1 / (precision + tether)
    np.testing.assert_allclose(
        np.mean(y, axis=0), tether * variance * x_next[0], atol=5 * np.sqrt(variance / 4000)
    )
    np.testing.assert_allclose(np.var(y, axis=0), variance, rtol=5 * np.sqrt(2 / 4000))


def test_diagnoses():
    """Independent draws: R-hat 1, all effective. An AR(1) chain: (1 - a) / (1 + a) of them. Halves apart:
    R-hat by its formula."""
    rng = np.random.default_rng(0)
    alone = rng.normal(size=[1000, 2, 20])
    said = chains.diagnose(alone, alone > 0)
    assert said['r_hat_max'] < 1.02 and said['ess_median'] == pytest.approx(1000, rel=0.1)
    assert said['acceptance'] == pytest.approx(0.5, abs=0.02) and said['ess_total'] == pytest.approx(
        40_000, rel=0.1
    )
    chain, correlated = np.zeros([2, 20]), np.zeros([4000, 2, 20])
    for k in range(4000):
        chain = 0.8 * chain + rng.normal(size=[2, 20])
        correlated[k] = chain
    assert chains.diagnose(correlated, correlated > 0)['ess_median'] == pytest.approx(
        4000 * 0.2 / 1.8, rel=0.15
    )
    apart = alone + np.array([-1.0, 1.0])[:, None]
    assert chains.diagnose(apart, alone > 0)['r_hat_median'] == pytest.approx(
        np.sqrt(5 / 4 * (1 + 4 / 3) - 1 / 4), rel=0.05
    )
    assert chains.diagnose(alone[:7], alone[:7] > 0) == {}


def test_log_spaced():
    assert chains.log_spaced(0) == [0]
    assert chains.log_spaced(1) == [0, 1]
    assert chains.log_spaced(2000) == [0, 1, 3, 10, 30, 100, 300, 1000]
    assert chains.log_spaced(100_000)[-2:] == [30_000, 100_000]


@pytest.mark.parametrize('leapfrogs', [6, 7])
def test_round_densities_do_not_resonate(leapfrogs):
    """So many steps of one length come all the way to the other side of a round density: accepted, at the
    energy they had."""
    log_prob = lambda y: -0.5 * tf.reduce_sum(y**2, axis=[1, 2, 3])  # noqa: E731
    _, results, energies, accepted = run(
        log_prob, noise.normal(SEED, [32, 16, 16, 1]), 800, 'hmc', 0.02, leapfrogs, burn_in=200
    )
    said = chains.diagnose(energies[200:, :, None], accepted[200:, :, None])
    assert 0.6 < said['acceptance'] < 0.9 and said['r_hat_max'] < 1.02 and said['ess_median'] > 0.1 * 600, (
        said
    )
    assert 0.3 < chains.step_size(results) < 1.5
    np.testing.assert_allclose([energies[200:].mean(), energies[200:].var()], 128, rtol=0.1)
