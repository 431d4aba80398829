"""Preconditioned energies against Gaussian data, whose densities, scores and denoisers are known."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import OPTIONS, PRECONDITIONED, images, moved_model, y

from drl_tf.core import denoising, diffusion, noise, objectives
from drl_tf.core.energy_model import EnergyModel
from drl_tf.core.langevin import value_gradient
from drl_tf.core.sampling import Draw
from drl_tf.training.optimizers import compiled_model

MEAN = (0.2, -0.1, 0.4)
STD = 0.3
SHAPE = (8, 8, 3)
SCHEDULE = diffusion.cosine()


def model(**options):
    return EnergyModel(PRECONDITIONED.replace(image_channels=3, data_mean=MEAN, data_std=STD, **options))


def noisy(level, count=6):
    """Noisy Gaussian data, its noise and clean images."""
    rng = np.random.default_rng(level)
    clean = np.float32(MEAN + STD * rng.normal(size=[count, *SHAPE]))
    eps = np.float32(rng.normal(size=clean.shape))
    return np.float32(SCHEDULE.A[level] * clean + SCHEDULE.S[level] * eps), clean, eps


@pytest.mark.parametrize('network', ['resnet', 'unet'])
def test_before_training_it_is_the_density_of_gaussian_data(network):
    """Value, score and Tweedie's denoiser, at every noise level, in float32."""
    untrained = model(network=network)
    for level in range(SCHEDULE.num_levels + 1):
        A, S = SCHEDULE.A[level], SCHEDULE.S[level]
        x, clean, eps = noisy(level)
        angle = tf.fill([len(x)], np.float32(SCHEDULE.angle[level]))
        log_prob = untrained.log_prob_at(angle, 'raw')
        variance = A**2 * STD**2 + S**2
        offset = np.float64(x) - A * np.float64(MEAN)
        expected = -0.5 * np.sum(offset**2 / variance + np.log(2 * np.pi * variance), axis=(1, 2, 3))
        np.testing.assert_allclose(log_prob(x), expected, rtol=1e-5)
        score = value_gradient(log_prob, tf.constant(x)).numpy()
        np.testing.assert_allclose(S * score, -S * offset / variance, rtol=1e-5, atol=1e-5)
        posterior = MEAN + A * STD**2 / variance * offset
        np.testing.assert_allclose((x + S**2 * score) / A, posterior, atol=1e-5)
        loss = objectives.score_matching(score, eps, angle, STD).numpy()
        np.testing.assert_allclose(
            loss, (1 + (S / A / STD) ** 2) * np.mean((eps + S * score) ** 2, axis=(1, 2, 3)), rtol=1e-4
        )
        denoised = (x + S**2 * score) / A
        c_out = np.sqrt((S / A) ** 2 * STD**2 / ((S / A) ** 2 + STD**2))
        np.testing.assert_allclose(
            loss, np.mean(((denoised - clean) / c_out) ** 2, axis=(1, 2, 3)), rtol=2e-3
        )


@pytest.mark.parametrize('energy', ['preconditioned', 'exact'])
@pytest.mark.parametrize('sigma_max', [2.0, 5.0])
def test_the_prior_of_data_has_the_moments_of_noisy_data(energy, sigma_max):
    options = {'schedule': 'karras', 'num_levels': 4, 'energy': energy}
    options |= {'exact_images': 2} if energy == 'exact' else {}
    walk = diffusion.karras(2, sigma_max=sigma_max)  # It may end at another noise than that of training.
    for prior in ('white', 'data'):
        network = model(**options, prior=prior)
        if energy == 'exact':
            clean = np.full([2, *SHAPE], MEAN) + STD * np.reshape([-1, 1], [2, 1, 1, 1])
            network.network.hold(clean, [0, 0])
        x_T = network.sample(200, [0, 1], Draw(weights='raw', walk=walk))[0].numpy()
        mean, std = (walk.A[-1] * np.array(MEAN), STD) if prior == 'data' else (0, 1)
        np.testing.assert_allclose(np.mean(x_T, axis=(0, 1, 2)), mean + np.zeros(3), atol=0.03)
        np.testing.assert_allclose(np.std(x_T - mean), np.hypot(walk.A[-1] * std, walk.S[-1]), rtol=0.02)


def test_both_losses_have_a_target_of_variance_one():
    """With Gaussian data and their own density, at every level, the loss of slopes is 1 on average, that of
    heights is at most 1.2, and the mean of each gradient is within 4 standard errors of 0."""
    rng = np.random.default_rng(0)
    clean = np.float32(STD * rng.normal(size=[4000, 4, 4, 1]))
    eps = np.float32(rng.normal(size=clean.shape))
    for level in range(SCHEDULE.num_levels + 1):
        angle = tf.fill([len(clean)], np.float32(SCHEDULE.angle[level]))
        log_variance = tf.fill([len(clean), 1, 1, 1], np.float32(np.log(STD**2)))
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(log_variance)
            with tf.GradientTape() as tape:
                tape.watch(angle)
                A, S = (f(angle)[:, None, None, None] for f in (tf.cos, tf.sin))
                x = tf.stop_gradient(A * clean + S * eps)
                variance = A**2 * tf.exp(log_variance) + S**2
                log_prob = -0.5 * tf.reduce_sum(x**2 / variance + tf.math.log(variance), axis=[1, 2, 3])
            slope = tape.gradient(log_prob, angle)
            slopes = objectives.score_matching(-x / variance, eps, angle, STD)
            heights = objectives.time_score(slope, tf.constant(clean), tf.constant(eps), angle, STD)
        assert np.mean(slopes) == pytest.approx(1, abs=0.03)
        assert 0.1 < np.mean(heights) < 1.2
        for losses in (slopes, heights):
            gradient = outer.gradient(losses, log_variance).numpy()
            assert abs(gradient.mean()) < 4 * gradient.std() / len(clean) ** 0.5, level


def test_its_proposal_has_the_mean_of_gaussian_conditionals():
    """The variance is that of a posterior whose clean image is known."""
    count = 20_000
    rng = np.random.default_rng(1)
    x_next, eps = np.float32(rng.normal(size=[2, count, 1, 1, 1]))
    variance = SCHEDULE.A**2 * STD**2 + SCHEDULE.S**2
    for level in range(SCHEDULE.num_levels):
        gain = SCHEDULE.m[level] * SCHEDULE.a[level + 1] * variance[level] / variance[level + 1]
        score = -x_next / np.float32(variance[level + 1])
        y, mean = denoising.posterior_proposal(SCHEDULE, score, x_next, tf.fill([count], level), eps)
        np.testing.assert_allclose(mean, gain * x_next, atol=1e-5)
        precision = SCHEDULE.S[level] ** -2.0 + (SCHEDULE.a[level + 1] / SCHEDULE.s[level + 1]) ** 2
        np.testing.assert_allclose(np.std(y - mean), SCHEDULE.m[level] * precision**-0.5, rtol=0.02)


@pytest.mark.parametrize('name', ['t6', 't1k'])
def test_energies_of_the_paper_propose_too(name):
    """By the score of the level above, and at the top by that of white noise."""
    paper = moved_model(OPTIONS.replace(proposal='tweedie', schedule=name))
    schedule, x_next = paper.schedule, y()
    for level in (0, 3, schedule.num_levels - 1):
        score = -x_next
        if level + 1 < schedule.num_levels:
            log_density, m = paper.density_at(tf.fill([3], level + 1)), np.float32(schedule.m[level + 1])
            score = value_gradient(lambda x, f=log_density, m=m: f(m * x), x_next)
        (A, A_next), (S, S_next) = schedule.A[level : level + 2], schedule.S[level : level + 2]
        a, s = schedule.a[level + 1], schedule.s[level + 1]
        clean = (x_next + S_next**2 * score) / A_next
        mean = (A * clean / S**2 + a * x_next / s**2) / (1 / S**2 + a**2 / s**2)
        _, found = paper.chain_start(x_next, tf.fill([3], level), [0, 1], Draw())
        np.testing.assert_allclose(found, schedule.m[level] * mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('schedule', 'deviation'),
    [
        (diffusion.karras(100), 0.14),
        (diffusion.karras(100, sigma_max=160.0), 0.24),
        (diffusion.t1k(100), 0.24),
    ],
)
def test_the_brightness_of_photographs_needs_the_noisiest_level_of_t1k(schedule, deviation):
    """The brightness of Gaussian images of 64 px deviates by 0.25; drawn from N(0, 1) by its own score, it
    deviates less. The presets of photographs rest on it (docs/presets.md)."""
    pixels, count = 64 * 64 * 3, 4000
    variance = schedule.A**2 * pixels * 0.25**2 + schedule.S**2
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=[count, 1, 1, 1]))
    for level in reversed(range(schedule.num_levels)):
        eps = np.float32(rng.normal(size=x.shape))
        score = np.float32(-x / variance[level + 1])
        y, _ = denoising.posterior_proposal(schedule, score, x, tf.fill([count], level), eps)
        x = y.numpy() / np.float32(schedule.m[level])
    assert np.std(x) / pixels**0.5 == pytest.approx(deviation, abs=0.01)


def _kept(schedule, deviation):
    """The deviation of samples over that of the data, along a direction of Gaussian data."""
    variance = schedule.A**2 * deviation**2 + schedule.S**2
    one, drawn = tf.ones([1, 1, 1, 1]), 1.0
    for t in reversed(range(schedule.num_levels)):
        score = np.float32(-1 / variance[t + 1]) * one
        y, mean = denoising.posterior_proposal(schedule, score, one, tf.constant([t]), one)
        slope, noise_std = (value.numpy().item() / schedule.m[t] for value in (mean, y - mean))
        drawn = slope**2 * drawn + noise_std**2
    y_variance = schedule.m[0] ** 2 * variance[0]
    slope = denoising.tweedie(schedule, lambda y: -(y[:, 0, 0, 0] ** 2) / (2 * y_variance), one)
    return slope.numpy().item() * drawn**0.5 / deviation


@pytest.mark.parametrize(
    ('num_levels', 'sigma_min', 'sigma_max', 'shares'),
    [
        (12, 0.0074, 12.8, [0.80, 0.77, 0.74, 0.70, 0.66]),
        (6, 0.0074, 12.8, [0.67, 0.63, 0.60, 0.54, 0.54]),
        (4, 0.1, 6.0, [0.68, 0.64, 0.61, 0.56, 0.53]),
        (4, 0.1, 8.0, [0.66, 0.62, 0.59, 0.53, 0.53]),
        (4, 0.0074, 12.8, [0.59, 0.54, 0.49, 0.52, 0.37]),
        (3, 0.1, 5.0, [0.63, 0.60, 0.56, 0.50, 0.52]),
        (3, 0.0074, 12.8, [0.50, 0.47, 0.51, 0.42, 0.22]),
        (2, 0.3, 5.0, [0.60, 0.55, 0.52, 0.51, 0.30]),
        (2, 0.0074, 12.8, [0.49, 0.47, 0.31, 0.17, 0.10]),
    ],
)
def test_variety_that_few_levels_keep(num_levels, sigma_min, sigma_max, shares):
    """The table of docs/chains.md."""
    schedule = diffusion.karras(num_levels, sigma_min=sigma_min, sigma_max=sigma_max)
    found = [_kept(schedule, deviation) for deviation in (2, 1, 0.5, 0.25, 0.1)]
    np.testing.assert_allclose(found, shares, atol=0.0051)


def test_noise_scale_is_that_of_its_proposal_in_sampling_alone():
    network, x_next = model(noise_scale=0.5), images(2)[..., :1] * [1.0, 1.0, 1.0]
    arguments = (x_next, tf.constant([0, 3]), [1, 2], Draw(weights='raw'))
    (whole, mean), (half, _) = (network.chain_start(*arguments, training=flag) for flag in (True, False))
    np.testing.assert_allclose(half - mean, 0.5 * (whole - mean), atol=1e-6)
    assert np.std(whole - mean) > 0.01


def test_levels_are_stratified():
    u = np.sort(noise.stratified(tf.constant([3, 4]), 8).numpy())
    np.testing.assert_allclose(np.diff(u), 1 / 8, atol=1e-6)
    assert 0 <= u[0] < 1 / 8


def test_continuous_levels_are_half_even_in_the_angle_and_half_in_its_log_snr():
    """From the lowest level to the highest; each has the index of the nearest level of the schedule."""
    trained = compiled_model(PRECONDITIONED.replace(levels='continuous', batch_size=4000))
    index, angle = (found.numpy() for found in trained.draw_levels([3, 4]))
    angles = trained.schedule.angle
    nearest = np.abs(angle[:, None] - angles).argmin(axis=1)
    assert np.mean(index == nearest) > 0.99 and set(index) == {*range(len(angles))}
    for found, low, high in (
        (angle[::2], angles[0], angles[-1]),
        (np.log(np.tan(angle[1::2])), *np.log(np.tan(angles[[0, -1]]))),
    ):
        np.testing.assert_allclose(np.sort(found), np.linspace(low, high, 2000), atol=2e-3 * (high - low))


def test_a_bias_that_has_no_slope_stays():
    """Behind a linear last activation, the last bias moves the height of the energy alone."""
    config = PRECONDITIONED.replace(final_act='identity', data_mean=(0.0,), data_std=1.0)
    untrained = compiled_model(config)
    bias = untrained.network.trainable_variables[-1].numpy()
    logs = untrained.train_step(images(config.training.batch_size))
    assert np.isfinite(logs['loss'])
    np.testing.assert_array_equal(untrained.network.trainable_variables[-1].numpy(), bias)


def test_its_density_integrates_to_one():
    """Before training, on a grid of the plane, at every level and between levels."""
    untrained = EnergyModel(
        PRECONDITIONED.replace(image_size=1, image_channels=2, data_mean=MEAN[:2], data_std=STD)
    )
    for angle in (*SCHEDULE.angle, 0.5):
        width = float(np.hypot(np.cos(angle) * STD, np.sin(angle)))
        side = np.linspace(-8 * width, 8 * width, 161, dtype=np.float32)
        x = np.stack(np.meshgrid(side, side), axis=-1) + np.float32(np.cos(angle) * np.array(MEAN[:2]))
        log_prob = untrained.log_prob_at(tf.fill([side.size**2], np.float32(angle)), 'raw')
        mass = np.exp(np.float64(log_prob(x.reshape(-1, 1, 1, 2)))).sum() * float(side[1] - side[0]) ** 2
        assert mass == pytest.approx(1, abs=1e-4)
