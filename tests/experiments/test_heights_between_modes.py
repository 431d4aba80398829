"""Heights of energies between modes far apart, where slopes say nothing: against log densities that are
known."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from helpers.small_models import PRECONDITIONED

from drl_tf.core import noise
from drl_tf.core.build_model import build_model
from drl_tf.core.networks.layers import SpectralLayers
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.core.weights import with_average
from drl_tf.data import plane
from drl_tf.experiments import density
from drl_tf.experiments.heights import Heights
from drl_tf.training.optimizers import compile_model

SCALES = np.array([0.125, 0.5])  # Deviations of the two modes of images, each of weight 1/2.
SIZE = 32
D = SIZE**2
STD = float(np.sqrt(np.mean(SCALES**2)))
BOTH = ('bennett', 'integration')

OPTIONS = PRECONDITIONED.replace(
    schedule='karras', levels='continuous', learning_rate=3e-3, adam_beta2=0.99, clip_norm=1, ema_decay=0.99
)
IMAGES = OPTIONS.replace(image_size=SIZE, batch_size=64, data_mean=(0.0,), data_std=STD, max_loss=1e9)
POINTS = OPTIONS.replace(
    image_size=1, image_channels=2, channels=32, channel_mult=(3,), num_res_blocks=2, batch_size=256
)


class Radial(SpectralLayers):
    """e as a function of |w| and the noise level; zero before training."""

    def __init__(self, units=64, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.hidden = [keras.layers.Dense(units, activation='swish') for _ in range(3)]
        self.last = keras.layers.Dense(1, kernel_initializer='zeros')
        for layer, width in zip([*self.hidden, self.last], [3, units, units, units], strict=True):
            layer.build((None, width))
        self.built = True

    def prepare(self, time, labels=None):
        return time / 8

    def call(self, w, prepared, dropout=None, remat=False):
        h = tf.stack([2 * tf.math.log(tf.reduce_mean(w**2, [1, 2, 3])), prepared, tf.tanh(prepared)], axis=-1)
        for layer in self.hidden:
            h = layer(h)
        return D * self.last(h)[:, 0]


class Exact:
    """e of the log density of the two scales plus `offset`."""

    def prepare(self, time, labels=None):
        return tf.atan(tf.exp(time / 4))

    def call(self, w, angle):
        sigma = tf.tan(angle)
        variance = SCALES.astype(np.float32) ** 2 + sigma[:, None] ** 2
        spread = sigma**2 + STD**2
        half_square = tf.reduce_sum(w**2, [1, 2, 3]) / 2
        # Of w rather than of x, and relative to the Gaussian part of the energy.
        modes = -D / 2 * tf.math.log(variance / spread[:, None]) - half_square[:, None] * (
            spread[:, None] / variance
        )
        log_ratio = tf.reduce_logsumexp(modes, axis=1) - math.log(2) + half_square + offset(angle, tf)
        return -sigma / STD * log_ratio

    def __call__(self, w, prepared, dropout=None, remat=False):
        return self.call(w, prepared)


def offset(angle, library=np):
    return 40 * library.sin(3 * angle) + 5 * library.cos(angle)


def two_scales(rng, count):
    """Images, of the narrow and the broad mode in turn."""
    scale = np.resize(SCALES, count)[:, None, None, None]
    return np.float32(scale * rng.standard_normal((count, SIZE, SIZE, 1)))


def board(rng, count):
    """Points of the checkerboard, half of those with x > 0 moved by the period of the board, 1, to x < 0."""
    points = plane.points('toy_checkerboard', 0, int(rng.integers(2**30)), count)
    points[..., 0] -= (points[..., 0] > 0) & (rng.random(points.shape[:-1]) < 0.5)
    return points


def model_of(config, make_network=None):
    """An untrained model, whose e is that of the configuration or `make_network(name)`."""
    keras.utils.set_random_seed(0)
    model = build_model(config)
    if make_network:
        data = config.data

        def make(name):
            return PreconditionedEnergy(
                make_network(name), config.image_shape, data.data_mean, data.data_std, name=name
            )

        model.network, model.ema_network = with_average(make, 'network')
        model.averages = [(model.ema_network, model.network)]
    return compile_model(model)


def trained(config, draw, steps, make_network=None):
    model = model_of(config.replace(decay_steps=steps), make_network)
    step = tf.function(model.train_step, autograph=False)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        step(tf.constant(draw(rng, config.training.batch_size)))
    return model


def measured(config, draw):
    """A configuration with the mean and deviation of the points."""
    points = draw(np.random.default_rng(1), 100_000)
    mean = points.mean(axis=(0, 1, 2))
    deviation = float(np.sqrt(np.mean((points - mean) ** 2)))
    return config.replace(data_mean=tuple(mean.tolist()), data_std=deviation)


def errors_of(model, log_z):
    """log p - exact log p at level 0 in nats, [images of the narrow mode, images of the broad mode]."""
    rng = np.random.default_rng(2)
    A, S, angle = (values[0] for values in (model.schedule.A, model.schedule.S, model.schedule.angle))
    images = two_scales(rng, 400)
    x = np.float32(A * images + S * rng.standard_normal(images.shape))
    log_prob = model.log_prob_at(tf.fill([len(x)], np.float32(angle)))(x)
    variances = A**2 * SCALES**2 + S**2
    squares = np.sum(np.float64(x) ** 2, axis=(1, 2, 3))[:, None]
    exact = scipy.special.logsumexp(
        -D / 2 * np.log(2 * np.pi * variances) - squares / (2 * variances), axis=1
    ) - np.log(2)
    return (np.float64(log_prob) - log_z - exact).reshape(-1, 2).T


def heights_of_images(model):
    images = two_scales(np.random.default_rng(3), 300)
    return Heights(model, 'ema', noise.root(0, noise.LIKELIHOOD), 100).measure(images)


def test_exact_energies_are_weighed_to_a_few_nats_in_a_thousand_dimensions():
    """Whatever the constant of each level, both estimates find it, within their errors."""
    model = build_model(IMAGES)
    model.ema_network = PreconditionedEnergy(Exact(), IMAGES.image_shape, 0.0, STD)
    found = heights_of_images(model)
    for name in BOTH:
        differences = found[name].log_z - offset(model.schedule.angle)
        assert np.abs(differences).max() < 5, (name, differences)
        assert (np.abs(differences) < 4 * found[name].error + 0.02).all(), (name, differences)
    errors = errors_of(model, found['bennett'].log_z[0])
    assert np.abs(errors).mean() / D < 0.005
    assert abs(errors[1].mean() - errors[0].mean()) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    'loss', [{'recovery_nce': 0.01}, {'time_score': 0.02}, {'level_classification': 0.02}], ids=str
)
def test_each_loss_finds_the_height_between_two_scales(loss):
    """The errors of log p at the two scales differ by less than 150 nats, even without a constant found after
    training; with slopes alone, by thousands (docs/heights_measured.md)."""
    model = trained(IMAGES.replace(**loss), two_scales, 700, lambda name: Radial(name=f'{name}_e'))
    heights = heights_of_images(model)
    for log_z in (heights['bennett'].log_z[0], heights['integration'].log_z[0], 0.0):
        narrow, broad = errors_of(model, log_z)
        assert np.abs([narrow, broad]).mean() / D < 0.08
        assert abs(broad.mean() - narrow.mean()) < 150


def squares_of_the_board(x, A, S):
    """The exact log density of x = A points of `board` + S noise, float64 [n]."""
    squares = [(2 * column + row % 2, row) for column in range(2) for row in range(4)]
    corners = A * (np.array(squares) / 2 - 1)
    flat = np.float64(x).reshape(-1, 1, 2)
    shares = scipy.special.ndtr((corners + A / 2 - flat) / S) - scipy.special.ndtr((corners - flat) / S)
    return np.log(np.average(np.prod(shares / (A / 2), axis=2), axis=1, weights=[3] * 4 + [1] * 4))


def divergence(model):
    """KL(data, model) of points of the board at level 0, normalised by quadrature; and the grid of that."""
    rng = np.random.default_rng(4)
    schedule = model.schedule
    A, S, angle = schedule.A[0], schedule.S[0], schedule.angle[0]
    points = board(rng, 10_000)
    x = np.float32(A * points + S * rng.standard_normal(points.shape))
    log_prob = model.log_prob_at(tf.fill([len(x)], np.float32(angle)))(x)
    grid = density.quadrature(model.density_at(tf.constant([0])), schedule.m[0] * S)
    return float(np.mean(squares_of_the_board(x, A, S) - np.float64(log_prob)) + grid.log_z), grid


@pytest.mark.slow
def test_the_time_score_weighs_the_squares_of_a_checkerboard():
    """Its squares have two masses; the divergence at low noise is 0.9 with slopes alone
    (docs/heights_measured.md)."""
    model = trained(measured(POINTS, board).replace(time_score=0.05), board, 1000)
    found, grid = divergence(model)
    assert found < 0.2
    points = board(np.random.default_rng(5), 4000)
    heights = Heights(model, 'ema', noise.root(0, noise.LIKELIHOOD), 4000).measure(points)
    for name in BOTH:
        assert abs(heights[name].log_z[0] - grid.log_z) < 0.15
    assert abs(grid.log_z) < 0.3
