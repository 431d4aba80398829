"""Annealed importance sampling against Gaussians, whose partition functions are known."""

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.core import noise
from drl_tf.experiments.annealing import Annealer, anneal, annealed_importance, estimate, pilot

SEED = [3, 4]


def gaussians(widths, mean=0.0):
    """Unnormalised densities around a mean that moves with k, and their log Z per dimension."""
    widths = np.asarray(widths)
    precision, means = (
        tf.constant(values, tf.float32) for values in (widths**-2, np.linspace(0, mean, len(widths)))
    )

    def density_of(k):
        return lambda y: -0.5 * precision[k] * tf.reduce_sum((y - means[k]) ** 2, axis=[1, 2, 3])

    return density_of, np.log(widths) + 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize('backwards', [False, True])
@pytest.mark.parametrize('num_leapfrog', [1, 4])
def test_weights_are_unbiased_in_few_steps(num_leapfrog, backwards):
    """E[w] is the ratio of the partition functions at any effort: five coarse steps, chains that have not
    settled."""
    size, shape, widths = 20_000, [2, 2, 1], np.geomspace(1, 0.6, 6)
    density_of, log_z = gaussians(widths, 0.3)
    path = range(6)[::-1] if backwards else range(6)
    y = noise.normal(SEED, [size, *shape]) * widths[path[0]] + (0.3 if backwards else 0.0)
    found, _ = annealed_importance(density_of, path, tf.cast(y, tf.float32), 0.5, num_leapfrog, SEED)
    truth = 4 * (log_z[path[-1]] - log_z[path[0]])
    assert abs(found.log_mean - truth) < 4 * found.standard_error < 0.1
    assert found.mean_log < truth - 0.1


def test_effort_brings_the_bounds_together():
    """In 64 dimensions forward runs end below the truth and backward runs above, 0.1 bits/dim apart after 300
    steps."""
    widths, size = np.geomspace(1, 0.05, 301), 64
    density_of, log_z = gaussians(widths)
    y, truth = noise.normal(SEED, [32, 8, 8, 1]), size * (log_z[-1] - log_z[0])
    low, state = annealed_importance(density_of, range(301), y, 0.5, 5, SEED)
    high, _ = annealed_importance(density_of, range(301)[::-1], y * 0.05, 0.02, 5, SEED)
    assert low.mean_log < truth < -high.mean_log
    assert low.mean_log <= low.log_mean < truth + 3 * low.standard_error
    assert (low.log_mean + high.log_mean) / (size * np.log(2)) > -0.1
    np.testing.assert_allclose(np.std(state.y), 0.05, rtol=0.05)


def test_pilot_finds_steps_that_fit_each_density():
    """The six leapfrog steps of a trajectory make a quarter of a period at each width, and chains accept over
    85 % of proposals."""
    widths = np.geomspace(2, 0.02, 301)
    density_of, _ = gaussians(widths)
    y = 2 * noise.normal(SEED, [32, 8, 8, 1])
    annealer = Annealer(density_of, 6)
    steps = list(pilot(annealer, range(301), y, 1.0, SEED))
    done, sizes = steps[-1]
    assert done == 300 and steps[0][0] == 0
    np.testing.assert_allclose(sizes * 6 / widths, np.pi / 2, rtol=0.1)
    acceptance = [
        accepted for _, _, accepted in anneal(annealer, range(301), annealer.begin(0, y), sizes, SEED)
    ]
    assert np.mean(acceptance) > 0.85


def test_a_run_goes_on_where_it_was():
    density_of, _ = gaussians(np.geomspace(1, 0.3, 9))
    annealer, y = Annealer(density_of, 2), noise.normal(SEED, [5, 2, 2, 1])
    states = [
        state for _, state, _ in anneal(annealer, range(9), annealer.begin(0, y), np.full(9, 0.3), SEED)
    ]
    assert len(states) == 8
    *_, (done, last, _) = anneal(annealer, range(9), states[2], np.full(9, 0.3), SEED, done=3)
    assert done == 8
    for mine, expected in zip(last, states[-1], strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_nothing_crosses_a_wall():
    """Where the density is zero no chain goes: a uniform box keeps its chains, and the share of a smaller box
    is the weight."""

    def density_of(k):
        half = tf.where(k == 0, 1.0, 0.5)
        return lambda y: tf.where(
            tf.reduce_all(tf.abs(y) <= half, axis=[1, 2, 3]), 0.0 * tf.reduce_sum(y, axis=[1, 2, 3]), -np.inf
        )

    y = tf.random.stateless_uniform([20_000, 2, 2, 1], SEED, -1, 1)
    annealer = Annealer(density_of, 2)
    *_, (_, state, _) = anneal(annealer, [0, 0, 1], annealer.begin(0, y), [0.3, 0.3], SEED)
    inside = np.abs(state.y).max(axis=(1, 2, 3)) <= 0.5
    np.testing.assert_array_equal(np.isfinite(state.log_weight), inside)
    assert np.abs(state.y).max() <= 1
    found = estimate(state.log_weight)
    assert abs(found.log_mean - 4 * np.log(0.5)) < 4 * found.standard_error


def test_estimate():
    """Equal weights are all effective; one that outweighs the rest is alone; a common factor moves the
    logarithms alone."""
    assert estimate(np.full(7, 3.0)) == (3.0, 0.0, 7.0, 3.0, 0.0)
    lone = estimate([0.0, *[-800.0] * 9])
    assert (
        lone.effective_sample_size == 1
        and lone.log_mean == pytest.approx(-np.log(10))
        and lone.standard_error == 1
    )
    weights = np.random.default_rng(0).uniform(0.5, 2, 1000)
    found, shifted = estimate(np.log(weights)), estimate(np.log(weights) - 5000)
    assert found.log_mean == pytest.approx(np.log(weights.mean()))
    assert found.standard_error == pytest.approx(
        weights.std(ddof=1) / weights.mean() / np.sqrt(1000), rel=1e-3
    )
    assert shifted.log_mean == pytest.approx(
        found.log_mean - 5000
    ) and shifted.standard_error == pytest.approx(found.standard_error)
