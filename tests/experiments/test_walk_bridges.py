"""log Z_0 from both sides along the noise levels of a model, against densities of which it is known."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from drl_tf.core import diffusion, noise
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.experiments import annealing, partition, walk_bridges

STD = 0.12
SHAPE = (8, 8, 1)
SCHEDULE = diffusion.karras()


class Tilted(keras.layers.Layer):
    """e of a Gaussian whose deviation is the variable `std` instead of the data's, plus a height of the
    level."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.std = tf.Variable(STD, trainable=False)

    def prepare(self, time, labels=None):
        return tf.atan(tf.exp(time / 4))

    def call(self, w, angle, dropout=None, remat=False):
        sigma = tf.tan(angle)
        ratio = (sigma**2 + STD**2) / (sigma**2 + self.std**2)
        log_ratio = 32 * tf.math.log(ratio) + (1 - ratio) * tf.reduce_sum(w**2, [1, 2, 3]) / 2
        return -sigma / STD * (log_ratio + height(angle))


def height(angle):
    return 7 * tf.sin(3 * angle) - 5


TILTED = Tilted()
NETWORK = PreconditionedEnergy(TILTED, SHAPE, mean=0.1, std=STD)
ANNEALERS = {}


def log_prob_at(angle):
    return lambda x: NETWORK(x, NETWORK.prepare(4 * tf.math.log(tf.tan(angle))))


def sides_of(std, num_steps, directory, at_once=64):
    """Both sides of a model of Gaussian images of deviation `std`, which takes them for Gaussians of STD."""
    TILTED.std.assign(std)

    def samples(first, count):
        return tf.constant(drawn(std, first, count), tf.float32)

    path = walk_bridges.walk(SCHEDULE, NETWORK, num_steps)
    options = partition.Options(num_chains=64, num_leapfrog=1, at_once=at_once, seed=1)
    sides = partition.Partition(path, log_prob_at, SHAPE, options, str(directory))
    sides.annealer = ANNEALERS.setdefault(num_steps, sides.annealer)  # Whose graphs may be made.
    return sides.forward(lambda count: None), sides.reverse(samples, 0, lambda count: None)


MEAN = SCHEDULE.A[0] * 0.1


def spread(std):
    """The standard deviation of a pixel of level 0."""
    return np.hypot(SCHEDULE.A[0] * std, SCHEDULE.S[0])


EDGE = SCHEDULE.A[0] + walk_bridges.TAIL * SCHEDULE.S[0]


def log_tailed(x, std):
    """log density of pixels of level 0, N(MEAN, spread^2) up to EDGE on both sides; not normalised."""
    excess = (np.maximum(np.abs(x), EDGE) - SCHEDULE.A[0]) / SCHEDULE.S[0]
    log_normal = scipy.stats.norm.logpdf(np.clip(x, -EDGE, EDGE), MEAN, spread(std))
    return log_normal - (excess**2 - walk_bridges.TAIL**2) / 2


GRID = np.linspace(-1.2, 1.2, 200_001)


def log_mass(std):
    """log of the integral of `log_tailed`."""
    return np.log(np.trapezoid(np.exp(log_tailed(GRID, std)), GRID))


def drawn(std, seed, count):
    """Samples of `log_tailed`, by the inverse of its distribution function."""
    below = np.cumsum(np.exp(log_tailed(GRID, std)))
    uniform = np.random.default_rng(seed).uniform(size=[count, *SHAPE])
    return np.interp(uniform, below / below[-1], GRID)


TRUTH = float(height(tf.constant(SCHEDULE.angle[0], tf.float32)))


def test_the_densities_go_from_pure_noise_to_level_0():
    path = walk_bridges.walk(SCHEDULE, None, 12)
    assert path.last == 13 and path.angles[0] == path.angles[1]
    np.testing.assert_allclose(path.angles[[1, -1]], SCHEDULE.angle[[-1, 0]])
    ratios = np.tan(path.angles[1:-1]) / np.tan(path.angles[2:])
    np.testing.assert_allclose(ratios, ratios[0])


def test_few_steps_weigh_exact_densities(tmp_path):
    """120 steps: both means of log w are near log Z_0, though heights rise and fall on the way."""
    low, high = sides_of(STD, 120, tmp_path)
    for found in (low.estimate.log_mean, -high.estimate.log_mean):
        assert found == pytest.approx(TRUTH, abs=0.3)
    assert TRUTH - 0.6 < low.estimate.mean_log < TRUTH + 0.2
    assert TRUTH - 0.2 < -high.estimate.mean_log < TRUTH + 0.6
    assert low.estimate.effective_sample_size > 32


def test_the_bounds_hold_where_steps_are_coarse(tmp_path):
    """Six steps for six levels, and a first density that does not fit."""
    low, high = sides_of(0.18, 6, tmp_path, at_once=8)
    assert low.estimate.mean_log < TRUTH - 1 and -high.estimate.mean_log > TRUTH + 1


def test_beyond_black_and_white_are_the_tails_of_the_noise(tmp_path):
    """Z_0 of a broad Gaussian includes the mass of the tails, and both bounds enclose it."""
    low, high = sides_of(0.45, 120, tmp_path)
    truth = TRUTH + 64 * log_mass(0.45)
    assert truth < TRUTH - 1.5
    assert low.estimate.mean_log < truth < -high.estimate.mean_log
    for found in (low.estimate.log_mean, -high.estimate.log_mean):
        assert found == pytest.approx(truth, abs=1)


def test_tails_change_nothing_where_training_images_are():
    """Within A + 3 S; beyond it, log p falls as that of the noise, whatever it was."""
    angle = tf.constant([0.3])
    A, S = np.cos(0.3), np.sin(0.3)
    tailed = walk_bridges.with_tails(lambda angle: lambda x: tf.reduce_sum(5 * x**2, axis=[1, 2, 3]))(angle)

    def log_p(x):
        return float(tailed(tf.fill([1, 1, 1, 1], np.float32(x)))[0])

    for x in (-A - 2.9 * S, 0.2, A + 2.9 * S):
        assert log_p(x) == pytest.approx(5 * x**2, rel=1e-5)
    for x in (-A - 4 * S, A + 5 * S):
        ends = ((abs(x) - A) / S) ** 2 - 9
        assert log_p(x) == pytest.approx(5 * (A + 3 * S) ** 2 - ends / 2, rel=1e-5)


@pytest.mark.parametrize('backwards', [False, True])
def test_weights_are_unbiased_for_any_carry(backwards):
    """E[w] is the ratio of the normalising constants, even where chains are carried to the wrong place."""
    widths = np.array([1.0, 0.8, 0.6])
    precision = tf.constant(widths**-2, tf.float32)

    def carry(y, from_k, k, seed):
        moved = 0.9 * y + 0.3 * noise.normal(seed, tf.shape(y)) + 0.05

        def log_normal(rest):
            return -tf.reduce_sum(rest**2, axis=[1, 2, 3]) / (2 * 0.3**2)

        return moved, log_normal(y - 0.8 * moved) - log_normal(moved - 0.9 * y - 0.05)

    def density_of(k):
        return lambda y: -precision[k] * tf.reduce_sum(y**2, axis=[1, 2, 3]) / 2

    path = range(3)[::-1] if backwards else range(3)
    y = tf.cast(widths[path[0]] * noise.normal([1, 2], [50_000, 2, 1, 1]), tf.float32)
    annealer = annealing.Annealer(density_of, 2, carry)
    *_, (_, state, _) = annealing.anneal(annealer, path, annealer.begin(path[0], y), np.full(3, 0.3), [3, 4])
    found = annealing.estimate(state.log_weight)
    truth = 2 * np.log(widths[path[-1]] / widths[path[0]])
    assert abs(found.log_mean - truth) < 4 * found.standard_error < 0.1
