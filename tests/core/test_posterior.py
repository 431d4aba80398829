"""Inverse problems on Gaussian data, whose posterior is known, by the posterior and by replacement."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.core import diffusion, noise, operators
from drl_tf.core.diffusion import at
from drl_tf.core.posterior import Effort, Observation, Posterior
from drl_tf.core.replacement import Replacement
from drl_tf.core.sampling import Sampler

MEAN = np.array([0.2, -0.3, 0.1, 0.0])
COVARIANCE = 0.25 * (0.5 * np.eye(4) + 0.5 * np.outer([1, 1, -1, 1], [1, 1, -1, 1]))
SHAPE = (2, 2, 1)
COUNT = 4000
SEED = tf.constant([4, 2])


def log_prob_at(schedule):
    """The log density of noisy Gaussian data at each of the T + 1 noises."""
    marginals = [A**2 * COVARIANCE + S**2 * np.eye(4) for A, S in zip(schedule.A, schedule.S, strict=True)]
    precisions = tf.constant(np.linalg.inv(marginals), tf.float32)

    def at_index(index):
        precision = tf.gather(precisions, index)
        shift = at(schedule.A, index) * MEAN.reshape(SHAPE).astype(np.float32)

        def log_prob(x):
            z = tf.reshape(x - shift, [-1, 4])
            return -tf.einsum('bi,bij,bj->b', z, precision, z) / 2

        return log_prob

    return at_index


def exact(H, o, noise_std):
    """Mean and covariance of x given o = H x + noise."""
    gain = COVARIANCE @ H.T @ np.linalg.inv(H @ COVARIANCE @ H.T + noise_std**2 * np.eye(len(H)))
    return MEAN + gain @ (o - H @ MEAN), COVARIANCE - gain @ H @ COVARIANCE


def assert_moments(x, mean, covariance, errors=4):
    """Mean and covariance of samples, [n, D], within so many standard errors."""
    error = np.sqrt(np.diag(covariance) / len(x))
    np.testing.assert_array_less(np.abs(x.mean(axis=0) - mean), errors * error + 2e-3)
    found = np.cov(x.T)
    spread = np.sqrt(
        (covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))) / len(x)
    )  # Of an entry of the covariance of Gaussian samples.
    np.testing.assert_array_less(np.abs(found - covariance), errors * spread + 1e-3)


SEEN = np.array([1.0, 0.0, 1.0, 0.0])
ROWS = np.array([[1, 0, 0, 0], [0, 0, 1, 0.0]])
KERNEL = np.array([[2.0, 1.0]])
# Each: operator, H as a matrix, observation, deviation of the noise.
PROBLEMS = {
    'inpainting': (operators.masked(tf.constant(SEEN.reshape(SHAPE), tf.float32)), ROWS, [0.7, -0.2], 0.0),
    'blur': (
        operators.blurred(KERNEL, 2, 2),
        np.array([[1, 2, 0, 0], [2, 1, 0, 0], [0, 0, 1, 2], [0, 0, 2, 1]]) / 3,
        [0.3, 0.1, -0.2, 0.3],
        0.2,
    ),
}  # fmt: skip


def observed(operator, H, o, noise_std, count=COUNT):
    value = np.asarray(o, np.float32)
    if len(H) == 2:
        value = np.float32(H.T @ value)
    shape = operator.apply(tf.zeros([1, *SHAPE])).shape[1:]
    return Observation(operator, tf.tile(value.reshape(1, *shape), [count, 1, 1, 1]), noise_std)


def drawn(method):
    """Solutions for `COUNT` draws of noise."""
    draw = tf.function(method.draw, autograph=False)
    return draw(noise.normal([0, 1], [COUNT, *SHAPE]), SEED).numpy()


@pytest.mark.parametrize('name', PROBLEMS)
def test_chains_have_the_posterior_of_gaussian_data(name):
    """Its mean and covariance within the Monte Carlo error."""
    operator, H, o, noise_std = PROBLEMS[name]
    schedule = diffusion.karras(16)
    posterior = Posterior(
        schedule,
        log_prob_at(schedule),
        data_std=0.5,
        observation=observed(operator, H, o, noise_std),
        effort=Effort(num_steps=10, step=0.8, rounds=4),
    )
    x = drawn(posterior).reshape(COUNT, 4)
    mean, covariance = exact(H, o, noise_std)
    assert_moments(x, mean, covariance)


def test_proposals_alone_are_too_certain_and_rounds_mend_it():
    """Without chains the variance of an unseen pixel is too small; eight rounds bring it nearer."""
    operator, H, o, noise_std = PROBLEMS['inpainting']
    schedule = diffusion.karras(6)
    _, covariance = exact(H, o, noise_std)
    found = []
    for effort in (Effort(0), Effort(10, 0.3), Effort(10, 0.3, rounds=8)):
        observation = observed(operator, H, o, noise_std)
        posterior = Posterior(schedule, log_prob_at(schedule), 0.5, observation, effort)
        x = drawn(posterior)
        found.append(np.var(x[:, 0, 1, 0]) / covariance[1, 1])
    assert found[0] < 0.8 * found[1] < 0.9 * found[2] and found[2] < 1.05, found


def test_the_likelihood_of_white_data_is_exact():
    """log p(o | x_t) against the joint Gaussian, of data that are white with the deviation d."""
    schedule, d = diffusion.karras(6), 0.5
    index = tf.constant([0, 3, 6])
    A, S = schedule.A[index.numpy()], schedule.S[index.numpy()]
    H = ROWS
    variance = (A**2 * d**2 + S**2).astype(np.float32)
    operator = PROBLEMS['inpainting'][0]
    observation = observed(operator, H, [0.7, -0.2], 0.1, count=3)

    def white(index):
        return lambda x: -tf.reduce_sum(x**2, [1, 2, 3]) / (2 * tf.gather(np.float32(variance), tf.range(3)))

    posterior = Posterior(schedule, white, d, observation)
    x = noise.normal([1, 1], [3, *SHAPE])
    found = posterior.log_density(index)(x) - white(index)(x)
    for row in range(3):
        k = A[row] * d**2 / variance[row]
        v = 0.1**2 + d**2 * S[row] ** 2 / variance[row]
        r = np.array([0.7, -0.2]) - k * H @ x[row].numpy().ravel()
        np.testing.assert_allclose(found[row], -r @ r / (2 * v), rtol=1e-3)


def recursion(schedule, o, rounds):
    """Mean and covariance of x_0 by replacement, where x_t is drawn exactly from p(x_t | x_{t+1})."""
    seen = np.diag(SEEN)
    mean, covariance = np.zeros(4), np.eye(4)
    for i in range(schedule.num_levels * rounds):
        t = schedule.num_levels - 1 - i // rounds
        a, s = schedule.a[t + 1], schedule.s[t + 1]
        if i % rounds:
            mean, covariance = a * mean, a**2 * covariance + s**2 * np.eye(4)
        prior_mean = schedule.A[t] * MEAN
        prior = schedule.A[t] ** 2 * COVARIANCE + schedule.S[t] ** 2 * np.eye(4)
        gain = a * prior @ np.linalg.inv(a**2 * prior + s**2 * np.eye(4))
        mean = prior_mean + gain @ (mean - a * prior_mean)
        covariance = gain @ covariance @ gain.T + prior - a * gain @ prior
        free = np.eye(4) - seen
        mean = free @ mean + schedule.A[t] * seen @ o
        covariance = free @ covariance @ free + schedule.S[t] ** 2 * seen
    return mean, covariance


class Exact(Sampler):
    """Draws x_t from the exact p(x_t | x_{t+1}) of the Gaussian data."""

    def recover(self, x_next, level, seed):
        t = level[0]
        A, S, a, s = (
            tf.gather(tf.constant(values, tf.float32), t)
            for values in (self.schedule.A, self.schedule.S, self.schedule.a[1:], self.schedule.s[1:])
        )
        prior = A**2 * COVARIANCE.astype(np.float32) + S**2 * tf.eye(4)
        gain = a * prior @ tf.linalg.inv(a**2 * prior + s**2 * tf.eye(4))
        mean = A * MEAN.astype(np.float32)
        z = tf.reshape(noise.normal(noise.fold(seed, noise.START), tf.shape(x_next)), [-1, 4])
        root = tf.linalg.cholesky(prior - a * gain @ prior)
        x = mean + (tf.reshape(x_next, [-1, 4]) - a * mean) @ tf.transpose(gain) + z @ tf.transpose(root)
        return tf.reshape(x, tf.shape(x_next)), None


@pytest.mark.parametrize('rounds', [1, 3])
def test_replacement_follows_its_own_recursion(rounds):
    """Replacement has the moments of its own recursion. It misses the posterior even with exact draws of x_t
    given x_{t+1}."""
    operator, H, o, noise_std = PROBLEMS['inpainting']
    schedule = diffusion.karras(6)
    sampler = Exact(schedule, density_at=lambda level: None)
    replacement = Replacement(sampler, observed(operator, H, o, noise_std), rounds)
    x = drawn(replacement).reshape(COUNT, 4)
    mean, covariance = recursion(schedule, H.T @ o, rounds)
    assert_moments(x, mean, covariance)
    right, _ = exact(H, o, noise_std)
    assert np.abs(mean - right).max() > 0.05
    assert_moments(x[:, SEEN == 1], (H.T @ o)[SEEN == 1] * schedule.A[0], schedule.S[0] ** 2 * np.eye(2))
