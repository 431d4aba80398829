"""Sampling over 1,000 noises and the normal approximation, against Gaussians, of which everything is
known."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.gaussians import exact_density, gaussian, recursion

from drl_tf.config.config import Config
from drl_tf.core import conditionals, denoising, diffusion, noise, objectives, sampling
from drl_tf.core.build_model import build_model

SEED = [7, 8]
MEAN, VARIANCE = 0.3, 0.25


def test_schedule():
    schedule = diffusion.t1k()
    np.testing.assert_allclose(schedule.s**2, np.linspace(1e-4, 0.02, 1000), rtol=1e-9)
    assert schedule.num_levels == 999 and (schedule.conditional == 1).all()
    np.testing.assert_allclose(schedule.m, schedule.a[1:])
    assert schedule.A[-1] == pytest.approx(0.00635, abs=5e-6)
    few = diffusion.t1k(3)
    np.testing.assert_allclose(few.A, schedule.A[[0, 333, 666, 999]], rtol=1e-9)


def test_a_strided_schedule_has_the_noise_of_the_merged_steps():
    """a and s of a span are those of its steps made one after the other; levels are evenly spaced and hold
    the lowest."""
    schedule = diffusion.t1k(20)
    walk = schedule.strided(6)
    np.testing.assert_array_equal(walk.levels, [0, 3, 6, 10, 13, 16])
    bounds = [*walk.levels, 20]
    for step, (low, high) in enumerate(itertools.pairwise(bounds), 1):
        share, variance = 1.0, 0.0
        for t in range(low + 1, high + 1):
            share, variance = share * schedule.a[t], schedule.a[t] ** 2 * variance + schedule.s[t] ** 2
        assert walk.a[step] == pytest.approx(share) and walk.s[step] ** 2 == pytest.approx(variance)
    np.testing.assert_allclose(walk.A, schedule.A[bounds])
    assert schedule.strided(0) is schedule and schedule.strided(20) is schedule
    np.testing.assert_array_equal(diffusion.t6().strided(3).conditional, [1, 1, 1])


def test_a_walk_has_the_exact_densities_of_its_own_schedule():
    trained = diffusion.t1k(12)
    walk, y = trained.strided(4), noise.normal(SEED, [4, 2, 2, 1])
    level = tf.range(4)
    mine = sampling.on_walk(trained, walk, exact_density(trained, MEAN, VARIANCE))(level)(y)
    np.testing.assert_allclose(mine, exact_density(walk, MEAN, VARIANCE)(level)(y), rtol=1e-5)


@pytest.mark.parametrize('t', [0, 4, 9])
def test_normal_approximation_has_its_own_moments(t):
    """Mean x' + s^2 l (mu - x') and variance s^2 for a Gaussian of precision l; the exact conditional has
    both of them (the shift, and the variance) times 1 / (1 + s^2 l): the forward process says so.
    """
    schedule, size = diffusion.t1k(10), 100_000
    level = tf.fill([size], t)
    s2, precision = (
        schedule.s[t + 1] ** 2,
        1 / (schedule.m[t] ** 2 * (schedule.A[t] ** 2 * VARIANCE + schedule.S[t] ** 2)),
    )
    mean = schedule.m[t] * schedule.A[t] * MEAN
    x_next = tf.fill([size, 2, 2, 1], 1.1)
    y, gradient = conditionals.conditional_chain(
        schedule,
        exact_density(schedule, MEAN, VARIANCE)(level),
        x_next,
        x_next,
        level,
        0,
        lambda k: noise.normal(SEED, x_next.shape),
    )
    np.testing.assert_allclose(gradient, np.full(y.shape, precision * (mean - 1.1)), rtol=1e-4)
    shift = s2 * precision * (mean - 1.1)
    assert np.mean(y) - 1.1 == pytest.approx(shift, abs=5 * np.sqrt(s2 / size / 4))
    assert np.var(y) == pytest.approx(s2, rel=5 * np.sqrt(2 / size / 4))

    # Regress y_t on x_{t+1} over the forward process, which is the exact conditional.
    eps = [noise.normal([1, k], x_next.shape) for k in range(3)]
    images = MEAN + np.sqrt(VARIANCE) * eps[0]
    x_t, x_next = (np.ravel(x) for x in diffusion.forward_pair(schedule, images, level, eps[1], eps[2]))
    slope, intercept = np.polyfit(x_next, schedule.m[t] * x_t, 1)
    factor = 1 / (1 + s2 * precision)
    assert np.var(schedule.m[t] * x_t - slope * x_next - intercept) == pytest.approx(s2 * factor, rel=0.01)
    assert slope * 1.1 + intercept - 1.1 == pytest.approx(shift * factor, abs=0.01)


def approximation_recursion(schedule, mean, variance):
    """Mean and variance of x_0: at each level y = (1 - s^2 l) x' + s^2 l mu + s z, and x = y / m."""
    first, second = 0.0, 1.0
    for t in reversed(range(schedule.num_levels)):
        m, A, S, s2 = schedule.m[t], schedule.A[t], schedule.S[t], schedule.s[t + 1] ** 2
        precision = 1 / (m**2 * (A**2 * variance + S**2))
        first = ((1 - s2 * precision) * first + s2 * precision * m * A * mean) / m
        second = ((1 - s2 * precision) ** 2 * second + s2) / m**2
    return first, second


def draw(trained, walk, num_steps, size):
    """States of a walk over exact energies, through the loops that a model goes through."""
    shape = [size, 2, 2, 1]
    density_at = sampling.on_walk(trained, walk, exact_density(trained, MEAN, VARIANCE))

    sampler = sampling.Sampler(walk, density_at, steps_at=lambda level: num_steps)

    @functools.partial(tf.function, autograph=False)
    def descend(x, high, low):
        return sampler.descend(x, high, low, SEED)[0]

    return sampling.progressive(
        lambda x, high, low: descend(x, tf.constant(high), tf.constant(low)),
        noise.normal(SEED, shape),
        walk.num_levels,
    )


@pytest.mark.parametrize(('num_levels', 'visited'), [(999, 0), (999, 50), (40, 0)])
def test_progressive_sampling_follows_the_recursion(num_levels, visited):
    """Over all levels, over a strided subset of them, and with few: each has the variance that its own
    schedule gives."""
    trained = diffusion.t1k(num_levels)
    walk = trained.strided(visited)
    states = draw(trained, walk, 0, 4000)
    assert len(states) == 9
    x = states[-1].numpy()
    expected_mean, expected_variance = approximation_recursion(walk, MEAN, VARIANCE)
    np.testing.assert_allclose(x.mean(), expected_mean, atol=5 * np.sqrt(expected_variance / x.size))
    np.testing.assert_allclose(x.var(), expected_variance, rtol=5 * np.sqrt(2 / x.size))


def test_all_levels_give_the_data_and_fewer_give_it_less_well():
    schedule = diffusion.t1k()
    target = np.array([schedule.A[0] * MEAN, schedule.A[0] ** 2 * VARIANCE + schedule.S[0] ** 2])
    errors = [
        np.abs(np.array(approximation_recursion(schedule.strided(n), MEAN, VARIANCE)) - target).max()
        for n in (999, 100, 20)
    ]
    assert errors == sorted(errors) and errors[0] < 0.005 < errors[1]


def test_langevin_over_a_thousand_noises_follows_the_recursion():
    """K = 2 at each of 999 levels: a loop within a loop."""
    schedule = diffusion.t1k(b2=0.01)
    x = draw(schedule, schedule, tf.constant(2), 2000)[-1].numpy()
    expected_mean, expected_variance = recursion(schedule, MEAN, VARIANCE, 2)
    np.testing.assert_allclose(x.mean(), expected_mean, atol=5 * np.sqrt(expected_variance / x.size))
    np.testing.assert_allclose(x.var(), expected_variance, rtol=5 * np.sqrt(2 / x.size))


def test_denoising_loss_is_least_at_the_posterior_mean():
    """Against a Gaussian of precision l the best slope is l / (1 + s^2 l), whose normal approximation has the
    exact mean."""
    schedule, size, t = diffusion.t1k(5), 50_000, 2
    level, eps = tf.fill([size], t), [noise.normal([1, k], [size, 2, 2, 1]) for k in range(3)]
    x = MEAN + np.sqrt(VARIANCE) * eps[0]
    _, x_next = diffusion.forward_pair(schedule, x, level, eps[1], eps[2])
    precision = 1 / (schedule.m[t] ** 2 * (schedule.A[t] ** 2 * VARIANCE + schedule.S[t] ** 2))
    best, mean = precision / (1 + schedule.s[t + 1] ** 2 * precision), schedule.m[t] * schedule.A[t] * MEAN

    def loss(slope):
        losses, gradient = objectives.denoising(schedule, gaussian(mean, slope), x, x_next, level)
        np.testing.assert_allclose(gradient, -slope * (x_next - mean), rtol=1e-4, atol=1e-5)
        return np.mean(losses)

    fit = np.polyfit(
        slopes := best * np.array([0.8, 0.9, 1.0, 1.1, 1.2]), [loss(slope) for slope in slopes], 2
    )
    assert -fit[1] / (2 * fit[0]) == pytest.approx(best, rel=0.02)
    s = schedule.s[t + 1]
    assert loss(best) == pytest.approx(4 * s**2 / (1 + s**2 * precision) / (2 * s**2), rel=0.02)


@pytest.mark.parametrize('t', [0, 20, 39])
def test_denoising_loss_is_the_mean_over_what_x_t_may_be(t):
    """Given x and x_{t+1}, y_t = m_t x_t has the posterior's mean and variance; the loss of its draws
    averages to that in closed form."""
    schedule, size = diffusion.t1k(40), 50_000
    level, shape = tf.fill([size], t), [size, 2, 2, 1]
    x, x_next = tf.fill(shape, 0.4), tf.fill(shape, -0.2)
    s, m = schedule.s[t + 1], schedule.m[t]
    std = schedule.S[t] * s / schedule.S[t + 1]
    y = m * (denoising.posterior_mean(schedule, x, x_next, level) + std * noise.normal(SEED, shape))
    losses, gradient = objectives.denoising(schedule, gaussian(0.1, 0.7), x, x_next, level)
    drawn = np.sum((y - (x_next + s**2 * gradient)) ** 2, axis=(1, 2, 3)) / (2 * s**2)
    assert np.mean(losses) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(size))


TINY = dict(
    image_size=8, image_channels=1, channels=4, channel_mult=(1,), num_res_blocks=1, act='swish',
    schedule='t1k', mcmc_steps=(0,),
    energy_scale='noise', precision='float32', noise_scale=1.0,
)  # fmt: skip


def test_sampling_costs_one_gradient_a_level(monkeypatch):
    model, evaluations = build_model(Config().replace(**TINY, num_levels=70)), tf.Variable(0)
    density_at = model.density_at

    def counted(*arguments, **options):
        log_density = density_at(*arguments, **options)

        def evaluate(y):
            evaluations.assign_add(1)
            return log_density(y)

        return evaluate

    monkeypatch.setattr(model, 'density_at', counted)
    shares = []
    states = model.sample(3, [1, 2], after_part=shares.append)
    assert int(evaluations) == 70 and len(states) == 9 and states[-1].shape == (3, 8, 8, 1)
    assert len(shares) == 32 and sum(shares) == pytest.approx(1)


def test_the_graph_does_not_grow_with_the_levels():
    """The graph of sampling has as many nodes for 999 levels as for 100."""

    def nodes(num_levels):
        model = build_model(Config().replace(**TINY, num_levels=num_levels))
        graph = (
            tf.function(lambda: model.sample(2, tf.constant([1, 2])), autograph=False)
            .get_concrete_function()
            .graph.as_graph_def()
        )
        return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

    assert nodes(999) == nodes(100)


def test_levels_are_walked_as_a_model_walks_them_one_by_one():
    keras.utils.set_random_seed(0)
    model = build_model(Config().replace(**TINY, num_levels=40))
    x = noise.normal(noise.fold([1, 2], noise.PRIOR), [3, 8, 8, 1])
    for t in reversed(range(40)):
        x = model.denoise(x, tf.fill([3], t), noise.fold([1, 2], noise.LANGEVIN, t))
    np.testing.assert_allclose(model.sample(3, [1, 2])[-1], x, rtol=1e-4, atol=1e-5)


def test_energies_are_scaled_by_the_noise():
    """F = f / s^2 where K is 0 in training, f / delta^2 otherwise, and so it stays when samples are drawn
    with another K."""
    config = Config().replace(**{**TINY, 'energy_scale': 'auto'}, num_levels=5)
    model = build_model(config)
    assert (
        config.diffusion.energy_scale == 'noise'
        and build_model(config.replace(mcmc_steps=(3,))).config.diffusion.energy_scale == 'noise'
    )
    np.testing.assert_allclose(model.precision, model.schedule.s[1:] ** -2)
    chains = build_model(
        Config().replace(
            schedule='t1k', num_levels=5, **{k: TINY[k] for k in ('image_size', 'image_channels', 'channels')}
        )
    )
    np.testing.assert_allclose(chains.precision, chains.schedule.delta**-2)
    y, level = noise.normal(SEED, [5, 8, 8, 1]), tf.range(5)
    f = model.network(y, model.network.prepare(diffusion.per_image(model.schedule.time, level)))
    np.testing.assert_allclose(model.density_at(level, 'raw')(y), f / model.schedule.s[1:] ** 2, rtol=1e-5)


@pytest.mark.parametrize('most_parts', [1, 6, 33])
def test_the_last_state_is_always_x_0(most_parts):
    """The last state is x_0 even if the parts are no multiple of those between the kept states."""
    states = sampling.progressive(lambda x, high, low: low, 100, 100, most_parts=most_parts)
    assert states[0] == 100 and states[-1] == 0
