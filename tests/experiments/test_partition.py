"""log Z_0 from both sides, against Gaussian data, of which it is known."""

import logging

import numpy as np
import pytest
import tensorflow as tf
from helpers.flips import flipped
from helpers.gaussians import exact_density

from drl_tf.core import diffusion, noise
from drl_tf.experiments import annealing, bridges, partition

MEAN, VARIANCE, SHAPE = 0.3, 1e-3, (8, 8, 1)
SIZE = 64
OPTIONS = partition.Options(num_chains=32, num_leapfrog=5, at_once=32, seed=1)


def log_z(schedule):
    """Returns log Z of exp F(y, 0) of `exact_density` over the whole space: the wall, many deviations away,
    does not count."""
    variance = schedule.m[0] ** 2 * (schedule.A[0] ** 2 * VARIANCE + schedule.S[0] ** 2)
    return SIZE / 2 * np.log(2 * np.pi * variance)


def exact_samples(schedule):
    def samples(first, count):
        scale = schedule.m[0] * np.sqrt(schedule.A[0] ** 2 * VARIANCE + schedule.S[0] ** 2)
        return schedule.m[0] * schedule.A[0] * MEAN + scale * noise.normal([9, 9], [count, *SHAPE], first)

    return samples


TRACED = {}


def annealer_of(*key):
    """The first `Annealer` of these densities, whose graphs are made."""
    *key, annealer = key
    return TRACED.setdefault(tuple(key), annealer)


def both_sides(schedule, num_steps, directory, options=OPTIONS, moved=lambda count: None):
    path = bridges.spaced(schedule, num_steps)
    density_at = exact_density(schedule, MEAN, VARIANCE)
    sides = partition.Partition(path, density_at, SHAPE, options, str(directory))
    sides.annealer = annealer_of(schedule.num_levels, num_steps, options.num_leapfrog, sides.annealer)
    return sides.forward(moved), sides.reverse(exact_samples(schedule), 0, moved), sides


@pytest.mark.parametrize(
    ('schedule', 'num_steps'), [(diffusion.t1k(), 1), (diffusion.t1k(), 1500), (diffusion.t6(), 700)]
)
def test_bridges_pass_every_level_and_step_evenly_in_the_noise(schedule, num_steps):
    path = bridges.spaced(schedule, num_steps)
    T = schedule.num_levels
    assert (path.level[0], path.beta[0]) == (T - 1, 0) and (path.level[-1], path.beta[-1]) == (0, 1)
    np.testing.assert_array_equal(path.level[path.beta == 1], np.arange(T)[::-1])
    assert max(T, 0.9 * num_steps) <= path.last <= num_steps + T
    width = np.append(schedule.m * schedule.S[:-1], 1.0)
    precision = (1 - path.beta) * width[path.level + 1] ** -2 + path.beta * width[path.level] ** -2
    steps = np.diff(np.log(precision)) / 2
    assert (np.abs(steps) <= 1.5 * np.abs(np.log(width[1:] / width[:-1])).sum() / num_steps + 1e-9).all()


def test_densities_on_the_way():
    """At beta = 0 the truncated normal, at 1 the marginal, between them the mixture of the logarithms;
    mirrored at the wall."""
    schedule = diffusion.t1k(4)
    path = bridges.spaced(schedule, 40)
    density_of, y = (
        path.density_of(exact_density(schedule, MEAN, VARIANCE)),
        noise.normal([1, 2], [3, *SHAPE]),
    )
    marginal = [exact_density(schedule, MEAN, VARIANCE)(tf.fill([3], t))(y) for t in range(4)] + [
        bridges.log_normal(y)
    ]
    assert set(path.level[path.beta == 1]) == {0, 1, 2, 3}
    for k, (t, beta) in enumerate(zip(path.level, path.beta, strict=True)):
        expected = beta * marginal[t] + (1 - beta) * marginal[t + 1]
        np.testing.assert_allclose(density_of(tf.constant(k))(y), expected, rtol=1e-5)
    inside, *images = (
        tf.tensor_scatter_nd_update(y, [[1, 0, 0, 0]], [number]) for number in (5.75, 6.25, -18.25, 29.75)
    )
    for image in images:
        np.testing.assert_allclose(
            density_of(tf.constant(5))(image), density_of(tf.constant(5))(inside), rtol=1e-5
        )
    np.testing.assert_array_equal(
        np.isfinite(bridges.within_wall(bridges.log_normal)(images[0])), [True, False, True]
    )
    normal = -0.5 * np.sum(y.numpy() ** 2, axis=(1, 2, 3)) - SIZE / 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(bridges.log_normal(y), normal, rtol=1e-5)


def test_the_normal_is_cut_at_the_wall(monkeypatch):
    """With a wall at 1 its normaliser is 0.6827 per number, and no sample is beyond."""
    monkeypatch.setattr(bridges, 'WALL', 1.0)
    y = tf.random.stateless_uniform([200_000, 1, 1, 1], [1, 2], -1, 1)
    assert 2 * np.mean(np.exp(bridges.log_normal(y))) == pytest.approx(1, abs=2e-3)
    y = bridges.sample_normal([1000, 2, 2, 1], tf.constant([1, 2]))
    assert np.abs(y).max() <= 1 and np.std(y) == pytest.approx(0.5396, abs=0.02)


@pytest.mark.slow
def test_both_sides_bracket_the_truth_of_a_thousand_levels(tmp_path):
    """Through T1k from N(0, I) and from exact samples: within 3 standard errors of the truth, and within 0.01
    bits/dim of each other."""
    schedule, moved = diffusion.t1k(), []
    low, high, sides = both_sides(schedule, 1000, tmp_path, moved=moved.append)
    truth, bit = log_z(schedule), SIZE * np.log(2)
    assert low.estimate.mean_log < truth < -high.estimate.mean_log
    assert abs(-high.estimate.log_mean - low.estimate.log_mean) < 0.01 * bit
    assert abs(low.estimate.log_mean - truth) < 3 * low.estimate.standard_error
    assert abs(-high.estimate.log_mean - truth) < 3 * high.estimate.standard_error
    assert low.estimate.effective_sample_size > 3 and low.near_wall == high.near_wall == 0
    assert low.acceptance.shape == (sides.path.last,) and 0.6 < low.acceptance.mean() < 1
    assert sum(moved) == sides.num_steps(0)


def leaning(slope):
    """F(y, t) from log N(0, I) to slope sum(y), whose mass is at the wall, in even steps; with exact samples
    of level 0, and log Z_0."""
    levels, numbers = 20, np.prod(SHAPE)

    def density_at(level):
        part = 1 - tf.cast(level, tf.float32) / levels
        return lambda y: tf.reduce_sum(part * slope * y - (1 - part) * y**2 / 2, axis=[1, 2, 3])

    def samples(first, count):
        u = tf.random.stateless_uniform([count, *SHAPE], noise.fold(tf.constant([5, 6]), first))
        return bridges.WALL + tf.math.log(u + (1 - u) * np.exp(-2 * slope * bridges.WALL)) / slope

    return (
        diffusion.t1k(levels),
        density_at,
        samples,
        numbers * np.log(2 * np.sinh(slope * bridges.WALL) / slope),
    )


@pytest.mark.slow
def test_chains_that_lean_on_the_wall_are_mirrored(tmp_path):
    schedule, density_at, samples, truth = leaning(0.5)
    sides = partition.Partition(bridges.spaced(schedule, 200), density_at, SHAPE, OPTIONS, str(tmp_path))
    low, high = sides.forward(lambda count: None), sides.reverse(samples, 0, lambda count: None)
    assert low.estimate.mean_log < truth < -high.estimate.mean_log
    assert -high.estimate.log_mean - low.estimate.log_mean < 8
    assert (
        min(low.acceptance.mean(), high.acceptance.mean()) > 0.6
        and low.near_wall > 0.9
        and high.near_wall > 0.9
    )


@pytest.mark.slow
def test_more_steps_bring_t6_closer(tmp_path):
    schedule = diffusion.t6()
    gaps = []
    for num_steps in (40, 160):
        low, high, _ = both_sides(schedule, num_steps, tmp_path / str(num_steps))
        assert low.estimate.mean_log < log_z(schedule) < -high.estimate.mean_log
        gaps.append(-high.estimate.mean_log - low.estimate.mean_log)
    assert gaps[1] < gaps[0] / 2.5


@pytest.mark.slow
def test_samples_that_are_not_exact_are_run_to_the_density(tmp_path):
    """Chains that start three times too wide weigh too much at first, and their figure is no bound; after a
    long run it is right."""
    schedule = diffusion.t1k(30)
    path, found = bridges.spaced(schedule, 300), {}
    centre = schedule.m[0] * schedule.A[0] * MEAN

    def wide(first, count):
        return 3 * (exact_samples(schedule)(first, count) - centre) + centre

    for long_run in (0, 60):
        sides = partition.Partition(
            path, exact_density(schedule, MEAN, VARIANCE), SHAPE, OPTIONS, str(tmp_path / str(long_run))
        )
        sides.annealer = annealer_of(30, 300, OPTIONS.num_leapfrog, sides.annealer)
        found[long_run] = -sides.reverse(wide, long_run, lambda count: None).estimate.log_mean
    assert found[0] < log_z(schedule) - 4 and found[60] == pytest.approx(log_z(schedule), abs=3)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Files of five chains in batches of two, two and one, and what they found."""
    directory = tmp_path_factory.mktemp('partition') / 'whole'
    return directory, both_sides(diffusion.t1k(5), 12, directory, BATCHES)


BATCHES = partition.Options(num_chains=5, num_leapfrog=2, at_once=2, seed=1)


def contents(directory):
    found = {}
    for path in sorted(directory.iterdir()):
        with np.load(path) as file:
            found[path.name] = {name: array.tolist() for name, array in file.items()}
    return found


@pytest.mark.parametrize('moves', [3, 20, 40, 60, 85, 130])
def test_an_interrupted_run_ends_with_the_same_numbers(whole, tmp_path, monkeypatch, moves):
    """Wherever it was interrupted: what is done is not done again."""
    monkeypatch.setattr(partition, 'SAVE_EVERY', -1.0)
    move, calls = annealing.Annealer.move, []

    def interrupted(*arguments):
        if len(calls) == moves:
            raise KeyboardInterrupt
        calls.append(1)
        return move(*arguments)

    monkeypatch.setattr(annealing.Annealer, 'move', interrupted)
    with pytest.raises(KeyboardInterrupt):
        both_sides(diffusion.t1k(5), 12, tmp_path, BATCHES)
    monkeypatch.setattr(annealing.Annealer, 'move', lambda *arguments: calls.append(1) or move(*arguments))
    moved = []
    low, high, sides = both_sides(diffusion.t1k(5), 12, tmp_path, BATCHES, moved.append)
    assert (low.estimate, high.estimate) == (whole[1][0].estimate, whole[1][1].estimate)
    assert contents(tmp_path) == contents(whole[0]) and sum(moved) == sides.num_steps(0)
    pilot, side = 30 + sides.path.last, 30 + 4 * sides.path.last
    lost = moves % side if moves % side < pilot else 0  # Of a pilot run nothing stays.
    assert len(calls) == 2 * side + lost


def test_more_chains_go_on_with_those_that_are_there(whole, tmp_path, monkeypatch):
    both_sides(
        diffusion.t1k(5), 12, tmp_path, partition.Options(num_chains=4, num_leapfrog=2, at_once=2, seed=1)
    )
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    low, _, _ = both_sides(diffusion.t1k(5), 12, tmp_path, BATCHES)
    assert low.estimate == whole[1][0].estimate
    assert len(before) == 6 and all(
        (tmp_path / name).stat().st_mtime_ns == then for name, then in before.items()
    )


DAMAGES = {
    'a flipped bit': flipped,
    'half': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    'another batch size': lambda path: np.savez(path, y=np.zeros((1, *SHAPE))),
}


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', ['forward-pilot.npz', 'forward-00002-2.npz'])
def test_a_damaged_file_is_named_and_made_again(whole, tmp_path, caplog, name, damage):
    for path in whole[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    DAMAGES[damage](tmp_path / name)
    with caplog.at_level(logging.WARNING):
        both_sides(diffusion.t1k(5), 12, tmp_path, BATCHES)
    assert f'{name} is damaged' in caplog.text and contents(tmp_path) == contents(whole[0])
