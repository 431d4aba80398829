"""Recovery likelihood of preconditioned energies: its optimum, its weights, and its place in a step."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import PRECONDITIONED

from drl_tf.core import diffusion, noise
from drl_tf.core.batch import Batch
from drl_tf.core.normalised_recovery import NormalisedRecoveryLikelihood, level_weights
from drl_tf.core.preconditioning import PreconditionedEnergy
from drl_tf.core.sampling import Info
from drl_tf.core.score_matching import ScoreMatching
from drl_tf.training.optimizers import compiled_model

STD = 0.5
BATCH = 3000
BOTH = PRECONDITIONED.replace(
    contrastive=0.1,
    mcmc_steps=(2,),
    levels='continuous',
    batch_size=8,
    num_classes=3,
    dropout=0.1,
    image_size=1,
    image_channels=2,
)
ALONE = BOTH.replace(objective='contrastive', contrastive=0.0, levels='walk', shared_noise=True)
LATER = BOTH.replace(contrastive_after=3, batch_size=12)
ANCHOR = BOTH.replace(contrastive=0.0, batch_size=12)


@pytest.mark.parametrize('schedule', diffusion.SCHEDULES.values())
def test_weights_of_the_levels(schedule):
    made = schedule(4)
    L = [1 / (made.m[t] * made.S[t]) ** 2 + made.conditional[t] / made.s[t + 1] ** 2 for t in range(4)]
    np.testing.assert_allclose(level_weights(made), [(1 / L[t]) / (1 / L[3]) for t in range(4)])
    assert level_weights(made)[3] == 1


class Quadratic(keras.layers.Layer):
    """e(w) = c |w|^2 / 2 + b sum(w): c and b are 0 at the optimum for Gaussian data."""

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.c = self.add_weight(shape=(), name='c')
        self.b = self.add_weight(shape=(), name='b')
        self.c.assign(start[0])
        self.b.assign(start[1])

    def prepare(self, time, labels=None):
        return [self.c.value, self.b.value]

    def call(self, w, prepared, dropout=None, remat=False):
        c, b = prepared
        return c * tf.reduce_sum(w**2, [1, 2, 3]) / 2 + b * tf.reduce_sum(w, [1, 2, 3])


def constants(made):
    """Returns k, d / sigma and tether of each level; F = -w^2 / 2 - (d / sigma) e(w) with w = k y."""
    A, S = made.A[:-1], made.S[:-1]
    k = 1 / (np.sqrt(A**2 * STD**2 + S**2) * made.m)
    return k, STD * A / S, made.conditional / made.s[1:] ** 2


class ExactNegatives(NormalisedRecoveryLikelihood):
    """Draws from the exact conditional of the model's quadratic energy, in place of a chain."""

    def negatives(self, x_next, level, seed, first, labels):
        k, scale, tether = constants(self.schedule)
        c, b = (float(value) for value in self.start)
        precision = k**2 * (1 + scale * c) + tether
        z = noise.normal(noise.fold(seed, noise.LANGEVIN), tf.shape(x_next), first)
        mean = diffusion.at(tether, level) * x_next - diffusion.at(scale * b * k, level)
        y = diffusion.at(1 / precision, level) * mean + diffusion.at(precision**-0.5, level) * z
        return y / diffusion.at(self.schedule.m, level), Info(z[:, 0, 0, 0], z[:, 0, 0, 0])


def images(count, options=BOTH):
    return tf.random.stateless_uniform([count, *options.image_shape], [1, 2], -1, 1)


def expected_gradient(made, start, D):
    """The mean gradient in c and b."""
    k, scale, tether = constants(made)
    c, b = start
    precision = k**2 * (1 + scale * c) + tether
    mean = -scale * b * k / precision
    variance = (tether / precision) ** 2 * (made.A[1:] ** 2 * STD**2 + made.S[1:] ** 2) + 1 / precision
    in_c = -scale / 2 * D * (k**2 * (variance + mean**2) - 1)
    return np.mean(level_weights(made) * [in_c, -scale * D * k * mean], axis=1)


@pytest.mark.parametrize('start', [(0.0, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.0, 0.1)])
def test_its_gradient_vanishes_at_the_true_energies_alone(start):
    """Over 20 batches of Gaussian data, the mean gradient has its closed form: 0 where c = b = 0, and of the
    sign of c and of b elsewhere."""
    config = ALONE.replace(batch_size=BATCH, num_classes=0, dropout=0.0, image_size=2, image_channels=1)
    model = ExactNegatives(config)
    model.start = start
    model.network = PreconditionedEnergy(Quadratic(start), config.image_shape, mean=0.0, std=STD)

    @functools.partial(tf.function, autograph=False)
    def gradients(index):
        seed = noise.fold([0, 1], index)
        clean = STD * noise.normal(noise.fold(seed, 50), [BATCH, *config.image_shape])
        batch = Batch(clean, tf.zeros([BATCH], tf.int32), None, seed, 0)
        return model.losses_and_gradients(batch)['loss'][1]

    found = np.array([gradients(index) for index in tf.range(20)])
    error = found.std(axis=0, ddof=1) / np.sqrt(20)
    expected = expected_gradient(model.schedule, start, 4)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error), (found.mean(axis=0), expected, error)
    if not any(start):
        np.testing.assert_allclose(expected, 0, atol=1e-9)
    for value, begun, uncertain in zip(expected, start, error, strict=True):
        assert not begun or value * np.sign(begun) > 5 * uncertain


def built(options):
    """A compiled model whose weights are away from their start, where e is zero."""
    keras.utils.set_random_seed(0)
    model = compiled_model(options.replace(data_std=0.6))
    for index, weight in enumerate(model.network.weights):
        weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [3, index]))
    return model


@functools.cache
def traced(options):
    """A model of `built`, and the graph of its losses and gradients on images and labels."""
    model = built(options)

    @functools.partial(tf.function, autograph=False)
    def compute(data):
        return model.losses_and_gradients(model.batch_of(data, 0))

    return model, compute


def gradients(options, step=0):
    """Loss and gradients of one batch, flattened, and the model, whose `level_means` are of this batch."""
    model, compute = traced(options)
    model.optimizer.iterations.assign(step)
    for mean in model.level_means.values():
        mean.reset_state()
    count = options.training.batch_size
    loss, found = compute((images(count), tf.range(count) % 4))['loss']
    return np.concatenate([[loss], *(np.ravel(gradient) for gradient in found)]), model


def test_the_losses_add_up():
    """Score matching as it is without the option, plus the weight times recovery likelihood alone."""
    both, _ = gradients(LATER, step=3)
    anchor, model = gradients(ANCHOR, step=3)
    assert type(model) is ScoreMatching
    alone, _ = gradients(ALONE.replace(shared_noise=False, batch_size=12), step=3)
    assert np.abs(alone).max() > 1e-3
    np.testing.assert_allclose(both, anchor + 0.1 * alone, rtol=1e-4, atol=1e-5 * np.abs(both).max())


def test_the_anchor_keeps_its_bits_before_the_second_stage():
    for step, equal in ((2, True), (3, False)):
        found, model = gradients(LATER, step=step)
        anchor, _ = gradients(ANCHOR, step=step)
        assert np.array_equal(found, anchor) == equal
        assert model.level_means['contrastive'].count.numpy().sum() == (0 if equal else 12)


def test_levels_are_stratified_and_apart_from_those_of_score_matching():
    _, model = gradients(LATER, step=3)
    np.testing.assert_array_equal(model.level_means['contrastive'].count, [2] * 6)
    assert model.level_means['loss'].count.shape == (7,)
    np.testing.assert_array_less(0, model.level_means['displacement'].total)


def test_noises_of_forward_proposal_chain_and_acceptance_are_independent(monkeypatch):
    """Every draw of noise in a step has a seed of its own; no images' noise is correlated with another."""
    drawn, seeds = {'normal': [], 'uniform': []}, []

    def recorded(kind):
        draw = getattr(noise, kind)

        def record(seed, shape, first=0):
            seeds.append(tuple(np.array(seed).tolist()))
            drawn[kind].append(draw(seed, shape, first))
            return drawn[kind][-1]

        return record

    for kind in drawn:
        monkeypatch.setattr(noise, kind, recorded(kind))
    options = BOTH.replace(batch_size=2048, num_classes=0, dropout=0.0, mcmc_steps=(1,))
    model = built(options)
    tf.config.run_functions_eagerly(True)
    try:
        model.losses_and_gradients(model.batch_of(images(2048), 0))
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(set(seeds)) == len(seeds)
    assert len(drawn['uniform']) == 1  # Acceptance.
    rows = np.array([np.ravel(each) for each in drawn['normal']])
    assert len(rows) == 5  # Score matching, x_t, x_{t+1}, proposal, chain.
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(rows.shape[1])
    first_pixels = np.concatenate([rows[:, :: rows.shape[1] // 2048], drawn['uniform']])
    assert np.abs(np.corrcoef(first_pixels) - np.eye(len(first_pixels))).max() < 5 / np.sqrt(2048)


def test_the_gap_is_that_of_the_log_densities():
    model = built(ALONE.replace(dropout=0.0))
    level, labels = tf.constant([0, 2, 5]), tf.constant([1, 0, 3])
    x_pos, x_neg = (tf.random.stateless_normal([3, 1, 1, 2], [1, seed]) for seed in (2, 3))
    F = model.density_at(level, 'raw', ((labels, 1.0),))
    m = diffusion.at(model.schedule.m, level)
    expected = F(m * x_neg) - F(m * x_pos)
    np.testing.assert_allclose(model.gap(x_pos, x_neg, level, labels), expected, rtol=1e-4)


def test_bfloat16_steps_are_finite():
    options = BOTH.replace(image_size=8, image_channels=1, precision='bfloat16')
    model = built(options.replace(contrastive_corrector='langevin'))
    logs = tf.function(model.train_step, autograph=False)((images(8, options), tf.range(8) % 4))
    assert all(np.isfinite(float(value)) for value in logs.values())
