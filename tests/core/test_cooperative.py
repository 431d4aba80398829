"""The cooperative recipe against closed forms: its schedule, its proposals, its loss and the Tweedie step."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import small_models
from helpers.small_models import CLASSES, moved_model, y
from helpers.small_models import COOPERATIVE as OPTIONS

from drl_tf.core import conditionals, denoising, diffusion, noise, objectives
from drl_tf.core.batch import Batch
from drl_tf.core.build_model import build_model
from drl_tf.core.langevin import value_gradient
from drl_tf.core.sampling import Draw
from drl_tf.training.optimizers import compiled_model

LOG_SNR_PAPER = [9.8, 2.689, 1.197, 0.141, -0.876, -2.172, -5.1]
S_PAPER = [0.00745, 0.25226, 0.48170, 0.68176, 0.84024, 0.94749, 0.99697]
LEVEL = tf.constant([0, 2, 5])
LABELLED = tf.random.stateless_uniform([4, 8, 8, 1], [1, 2], -1, 1), tf.constant([1, 2, 1, 2])


new_model = functools.cache(build_model)


def test_cosine_values():
    schedule = diffusion.cosine()
    log_snr = np.log(schedule.A**2 / schedule.S**2)
    np.testing.assert_allclose(log_snr, LOG_SNR_PAPER, atol=1e-3)
    np.testing.assert_allclose(schedule.S, S_PAPER, atol=1e-3)
    np.testing.assert_allclose(
        schedule.time, 1000 * np.arctan(np.exp(-np.array(LOG_SNR_PAPER) / 2)) / (np.pi / 2), atol=0.2
    )
    np.testing.assert_array_equal(schedule.conditional, [1, 1, 1, 1, 1, 0])
    np.testing.assert_allclose(
        schedule.delta**2, 4e-4 * schedule.S[:-1] / schedule.S[0] * schedule.s[1:] ** 2
    )


def test_proposal_is_the_forward_posterior_of_clean_pixels():
    """sqrt(beta~) m_t is the deviation of y_t given x_{t+1} and x, from the Gaussian conditioning of x_t on
    x_{t+1}."""
    model, schedule = new_model(OPTIONS), diffusion.cosine()
    a, s, S = schedule.a[1:], schedule.s[1:], schedule.S[:-1]
    posterior = 1 / (1 / S**2 + a**2 / s**2)
    np.testing.assert_allclose(model.schedule.posterior_std, np.sqrt(posterior) * schedule.m, rtol=1e-9)


def test_proposal_starts_at_the_noisy_image():
    """g = x_{t+1} at the start, so that y^0 - x_{t+1} is pure noise of the level's deviation."""
    model, size = new_model(OPTIONS), 2000
    x_next, level = tf.zeros([size, 8, 8, 1]), tf.fill([size], 3)
    start, mean = model.chain_start(x_next, level, [1, 2], Draw(weights='raw'))
    np.testing.assert_array_equal(mean, x_next)
    assert np.std(start) == pytest.approx(model.schedule.posterior_std[3], rel=0.01)
    assert np.mean(start) == pytest.approx(0, abs=0.01)


def test_initializer_loss_has_the_analytic_gradient():
    """d/dg of (1 - w) |y^K - y^0|^2 + w |E - g|^2 is 2 (1 - w) (y^0 - y^K) + 2 w (g - E); nothing flows into
    the targets."""
    mean, noise_of_start, y_mean, y_neg = (
        tf.random.stateless_normal([3, 8, 8, 1], [seed, 0]) for seed in range(4)
    )
    with tf.GradientTape() as tape:
        tape.watch([mean, y_mean, y_neg])
        start = mean + noise_of_start
        loss = objectives.initializer(start, mean, y_mean, y_neg, 0.25)
    gradient, *targets = tape.gradient(loss, [mean, y_mean, y_neg])
    np.testing.assert_allclose(gradient, 2 * (0.75 * (start - y_neg) + 0.25 * (mean - y_mean)), atol=1e-5)
    assert targets == [None, None]


class GaussianData:
    """Images of independent pixels of N(mean, variance), and the right proposal for them at level t."""

    mean, variance, t, size = 0.5, 0.04, 2, 64
    schedule = diffusion.cosine()
    level = tf.fill([size], t)

    def __init__(self):
        m, a, s = self.schedule.m[self.t], self.schedule.a[self.t + 1], self.schedule.s[self.t + 1]
        A, S = self.schedule.A[self.t], self.schedule.S[self.t]
        prior_mean, prior_variance = A * self.mean, A**2 * self.variance + S**2
        gain = a * prior_variance / (a**2 * prior_variance + s**2)
        self.analytic = lambda x_next: m * (prior_mean + gain * (x_next - a * prior_mean))
        self.deviation = m * np.sqrt(prior_variance * (1 - a * gain))

    @functools.partial(tf.function, autograph=False)
    def batch(self, seed, shared):
        """Images and their x_{t+1}, whose noise is that of x_t or not."""
        x, eps, eps_next = (
            noise.normal(noise.fold(seed, purpose), [self.size, 8, 8, 1]) for purpose in range(3)
        )
        images = self.mean + self.variance**0.5 * x
        eps_next = None if shared else eps_next
        return images, diffusion.forward_pair(self.schedule, images, self.level, eps, eps_next)[1]

    def chain_end(self, x_next, seed):
        """An exact draw of y_t given x_{t+1}."""
        return self.analytic(x_next) + self.deviation * noise.normal(noise.fold(seed, 4), tf.shape(x_next))


@pytest.mark.slow
@pytest.mark.parametrize('data_share', [0.0, 1.0], ids=['taught by chains', 'taught by data'])
def test_initializer_alone_learns_the_analytic_proposal(data_share):
    """On Gaussian data g becomes the mean of y_t given x_{t+1}, which is linear in x_{t+1}.

    The data teach it that, with the noise shared or not. So do chains that end at exact draws of y_t given
    x_{t+1}, with noise of its own.
    """
    data = GaussianData()
    options = dict(initializer_attention=False, initializer_mult=(1,), initializer_dropout=0.0, clip_norm=0.0)
    model = build_model(OPTIONS.replace(**options, initializer_data_share=data_share, batch_size=data.size))
    model.initializer_optimizer = keras.optimizers.Adam(3e-3)
    model.initializer_optimizer.build(model.initializer.trainable_variables)

    @functools.partial(tf.function, autograph=False)
    def step(images, x_next, seed):
        with tf.GradientTape() as tape:
            start, proposal = model.chain_start(x_next, data.level, noise.fold(seed, 3), Draw(weights='raw'))
        batch = Batch(images, data.level, None, seed, 0)
        y_neg = data.chain_end(x_next, seed)
        gradients = model.start_gradients(tape, batch, start, proposal, x_next, y_neg)['initializer_loss'][1]
        model.initializer_optimizer.apply(gradients, model.initializer.trainable_variables)

    variables = [*model.initializer.weights, *model.initializer_optimizer.variables]
    beginning = [variable.numpy() for variable in variables]
    for shared in (False, True) if data_share else (False,):
        for variable, value in zip(variables, beginning, strict=True):
            variable.assign(value)
        for seed in tf.stack([tf.range(200), tf.fill([200], 10)], axis=1):
            step(*data.batch(seed, shared), seed)
        _, x_next = data.batch(tf.constant([1000, 10]), shared)
        time = diffusion.per_image(data.schedule.time, data.level + 1)
        error = model.initializer(x_next, time) - data.analytic(x_next)
        start = x_next - data.analytic(x_next)
        assert np.mean(error**2) < 0.05 * np.mean(start**2), shared


def test_tweedie_is_exact_on_a_gaussian():
    """For x ~ N(mu, v) the mean of x given x_0 is mu + A v (x_0 - A mu) / (A^2 v + S^2)."""
    schedule, mean, variance = diffusion.cosine(), 0.3, 0.25
    m, A, S = schedule.m[0], schedule.A[0], schedule.S[0]
    marginal = A**2 * variance + S**2

    def log_density(y):
        return -tf.reduce_sum((y / m - A * mean) ** 2, axis=[1, 2, 3]) / (2 * marginal)

    expected = mean + A * variance * (y() - A * mean) / marginal
    np.testing.assert_allclose(denoising.tweedie(schedule, log_density, y()), expected, atol=1e-5)


def test_final_denoise_is_the_last_step():
    points = small_models.OPTIONS.replace(image_size=1, image_channels=2)
    plain, final = (moved_model(points.replace(final_denoise=on)) for on in (False, True))
    x_0, x = plain.sample(2, [1, 2])[-1], final.sample(2, [1, 2])[-1]
    gradient = value_gradient(
        lambda z: plain.density_at(tf.zeros([2], tf.int32))(plain.schedule.m[0] * z), x_0
    )
    np.testing.assert_allclose(
        x, (x_0 + plain.schedule.S[0] ** 2 * gradient) / plain.schedule.A[0], atol=1e-4
    )
    assert np.abs(x - x_0 / plain.schedule.A[0]).max() > 1e-3


def test_the_chain_starts_at_the_proposal_and_stays_tethered():
    """With a flat density and no noise a step moves y^0 by the tether alone: delta^2 / 2 (x_{t+1} - y^0) /
    s_{t+1}^2."""
    schedule, level, t = diffusion.cosine(), tf.fill([3], 2), 2
    start, x_next = y(), 2 * y()
    step, _ = conditionals.conditional_chain(
        schedule,
        lambda z: 0 * z[:, 0, 0, 0],
        start,
        x_next,
        level,
        1,
        lambda k: 0 * start,
        1.5 * diffusion.at(schedule.delta, level),
    )
    expected = start + 1.5**2 * schedule.delta[t] ** 2 / 2 * (x_next - start) / schedule.s[t + 1] ** 2
    np.testing.assert_allclose(step, expected, rtol=1e-5)


def test_the_chains_start_at_the_proposal():
    """With all but vanishing steps, sampling ends where the initializer points, and chains in training do not
    leave y^0."""
    model = moved_model(OPTIONS.replace(step_scale=0.01, b2=1e-8, batch_size=3))
    seed = tf.constant([1, 2])
    expected, _ = model.chain_start(y(), LEVEL, noise.fold(seed, noise.START), Draw())
    assert np.abs(expected - y()).max() > 0.1
    np.testing.assert_allclose(
        model.denoise(y(), LEVEL, seed), expected / diffusion.at(model.schedule.m, LEVEL), atol=1e-3
    )
    trained = compiled_model(OPTIONS.replace(b2=1e-8, batch_size=24))
    trained.network.time_out.kernel.assign(tf.zeros_like(trained.network.time_out.kernel))
    trained.train_step(tf.tile(y(), [8, 1, 1, 1]))
    assert np.nanmax(trained.level_means['displacement'].result() / trained.schedule.posterior_std) < 0.05


def test_both_networks_learn():
    """A step moves every network, and the averages with the energy's decay."""
    keras.utils.set_random_seed(0)
    options = OPTIONS.replace(initializer_learning_rate=1e-3, initializer_mult=(1, 2), num_classes=3)
    model = compiled_model(options)
    before = [[w.numpy() for w in network.weights] for _, network in model.averages]
    logs = model.train_step(
        (tf.random.stateless_uniform([4, 8, 8, 1], [1, 2], -1, 1), tf.constant([1, 2, 3, 0]))
    )
    assert np.isfinite(list(logs.values())).all() and 'initializer_loss' in logs
    for (average, network), old in zip(model.averages, before, strict=True):
        assert any(
            np.any(w.numpy() != then) for w, then in zip(network.weights, old, strict=True) if w.trainable
        )
        for mean, now, then in zip(average.weights, network.weights, old, strict=True):
            np.testing.assert_allclose(mean, 2 / 11 * then + 9 / 11 * now, atol=1e-6)


def test_labels_train_the_rows_of_their_classes():
    """A step moves the rows of the initializer's label layer that are of the classes in the batch."""
    model = compiled_model(CLASSES.replace(label_dropout=0.0, initializer_learning_rate=1e-3))
    for weight in model.initializer.trainable_variables:
        weight.assign(weight + 0.1 * tf.random.stateless_normal(weight.shape, [4, 2]))
    before = model.initializer.label.kernel.numpy()
    model.train_step(LABELLED)
    moved = np.any(model.initializer.label.kernel.numpy() != before, axis=1)
    assert np.flatnonzero(moved).tolist() == [1, 2]


def test_dropped_labels_are_that_of_no_class():
    batch = compiled_model(CLASSES.replace(label_dropout=1.0)).batch_of(LABELLED, 0)
    np.testing.assert_array_equal(batch.labels, [0, 0, 0, 0])


def test_labels_are_dropped_at_the_rate():
    assert np.mean(noise.dropped([1, 2], 0.1, 100_000)) == pytest.approx(0.1, abs=0.005)
