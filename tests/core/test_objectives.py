"""Training without chains: negatives from the normal approximation, and denoising score matching."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from helpers import golden
from helpers.tiny import TINY, call, refused

from drl_tf.config.config import Config
from drl_tf.core import noise
from drl_tf.core.denoising import posterior_mean
from drl_tf.training.optimizers import compiled_model

SMALL = dict(
    image_size=8, image_channels=1, channels=8, channel_mult=(1,), num_res_blocks=1, act='swish',
    final_act='swish', schedule='t1k',
    mcmc_steps=(0,), energy_scale='noise', precision='float32', batch_size=4, warmup_steps=0,
    learning_rate=1e-3,
)  # fmt: skip
IMAGES = tf.random.stateless_uniform([4, 8, 8, 1], [1, 2], -1, 1)


def pairs(model):
    """What the first step of training draws: y+, x_{t+1}, the level, and the seed."""
    seed = noise.fold([0, noise.TRAINING], 0, 0)
    level = noise.levels(seed, model.schedule.num_levels, 4)
    s, a, A, S, m = (tf.cast(getattr(model.schedule, name), tf.float32) for name in ('s', 'a', 'A', 'S', 'm'))
    eps, eps_next = (noise.normal(noise.fold(seed, noise.FORWARD, k), IMAGES.shape) for k in (0, 1))

    def at(values, level):
        return tf.reshape(tf.gather(values, level), [4, 1, 1, 1])

    x_t = at(A, level) * IMAGES + at(S, level) * eps
    x_next = at(a, level + 1) * x_t + at(s, level + 1) * eps_next
    return at(m, level) * x_t, x_next, level, at(s, level + 1), seed


def f_of(model, y, level):
    return model.network(y, model.network.prepare(tf.gather(tf.cast(model.schedule.time, tf.float32), level)))


def shift_of(model, x_next, level):
    """grad f, which is s^2 grad F."""
    with tf.GradientTape() as tape:
        tape.watch(x_next)
        f = f_of(model, x_next, level)
    return tape.gradient(f, x_next)


def test_negatives_are_draws_of_the_normal_approximation():
    """y- = x_{t+1} + grad f + s z with F = f / s^2; each image weighs s_1 / s_{t+1}."""
    model = compiled_model(Config().replace(**SMALL, num_levels=5))
    y_pos, x_next, level, s, seed = pairs(model)
    y_neg = (
        x_next
        + shift_of(model, x_next, level)
        + s * noise.normal(noise.fold(seed, noise.LANGEVIN, 0), IMAGES.shape)
    )
    expected = (f_of(model, y_neg, level) - f_of(model, y_pos, level)) * model.schedule.s[1] / s[:, 0, 0, 0]
    logs = model.train_step(IMAGES)
    assert float(logs['loss']) == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-3)


def dsm_loss(model, x_next, level, s):
    """By the posterior of y_t given the image and x_{t+1}."""
    schedule = model.schedule
    y_mean = tf.reshape(tf.gather(tf.cast(schedule.m, tf.float32), level), [4, 1, 1, 1]) * posterior_mean(
        schedule, IMAGES, x_next, level
    )
    left = 64 * np.mean([(schedule.m[t] * schedule.S[t] / schedule.S[t + 1]) ** 2 for t in level.numpy()]) / 2
    residual = y_mean - x_next - shift_of(model, x_next, level)
    return float(tf.reduce_mean(tf.reduce_sum(residual**2 / (2 * s**2), axis=[1, 2, 3]))) + left


def test_denoising_score_matching_descends_its_own_gradient():
    """The loss is E |y_t - x_{t+1} - grad f|^2 / (2 s^2), and the step's gradient of a gradient is that of
    finite differences."""
    model = compiled_model(Config().replace(**SMALL, num_levels=5, objective='dsm'))
    drawn = pairs(model)[1:4]
    kernel = model.network.time_out.kernel
    before, direction = kernel.numpy(), np.random.default_rng(0).normal(size=kernel.shape)
    losses = []
    for step in (-1e-2, 1e-2):
        kernel.assign(before + step * direction)
        losses.append(dsm_loss(model, *drawn))
    kernel.assign(before)
    expected = dsm_loss(model, *drawn)
    logs = model.train_step(IMAGES)
    assert float(logs['loss']) == pytest.approx(expected, rel=1e-3)
    momentum = next(m for m in model.optimizer.variables if 'time_out_kernel_momentum' in m.path)
    slope = float(np.sum(momentum.numpy() / 0.1 * direction))
    assert slope == pytest.approx((losses[1] - losses[0]) / 2e-2, rel=0.02) and abs(slope) > 1e-3
    inner = next(m for m in model.optimizer.variables if 'conv_in_kernel_momentum' in m.path)
    assert np.abs(inner.numpy()).max() > 0


def test_score_matching_learns():
    """A flat energy has D / 2 on average, an exact one as much less as its data are known from x_{t+1}."""
    model = compiled_model(Config().replace(**SMALL, num_levels=5, objective='dsm', ema_decay=0.5))
    step = tf.function(model.train_step, autograph=False)
    losses = [float(step(IMAGES)['loss']) for _ in range(150)]
    assert losses[0] == pytest.approx(32, rel=0.25) and np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


def test_the_bound_on_the_loss_is_per_pixel():
    """A loss of about D / 2 is in bounds where `max_loss` is 1, and out of them where it is 0.1."""
    model = compiled_model(Config().replace(**SMALL, num_levels=5, objective='dsm', max_loss=1.0))
    assert float(model.train_step(IMAGES)['loss']) > 1 and int(model.first_bad_step) == -1
    model = compiled_model(Config().replace(**SMALL, num_levels=5, objective='dsm', max_loss=0.1))
    model.train_step(IMAGES)
    assert int(model.first_bad_step) == 1


def test_many_levels_are_logged_in_bands():
    """999 levels in 20 bands of neighbours, in order; the counts add up to the batch."""
    model = compiled_model(Config().replace(**SMALL, num_levels=999))
    model.train_step(IMAGES)
    mean = model.level_means['loss']
    level = noise.levels(noise.fold([0, noise.TRAINING], 0, 0), 999, 4)
    np.testing.assert_array_equal(mean.count, np.bincount(level.numpy() * 20 // 999, minlength=20))


T1K = [word for word in TINY if not word.startswith(('--recipe', '--mcmc_steps', '--image_size'))]
T1K += ['--recipe=t1k', '--num_levels=40', '--image_size=4', '--sample_batch_size=64']


@pytest.mark.slow
def test_the_recipe_trains_resumes_and_samples(capsys, tmp_path):
    arguments = [*T1K, f'--workdir={tmp_path}/w']
    code, _, err = call(capsys, *arguments, '--train_steps=4')
    assert code == 0, err
    code, out, err = call(capsys, *arguments, '--train_steps=8', '--mode=train,sample')
    assert code == 0 and 'resuming at step 4' in out and '64/64' in err, err
    code, out, err = call(
        capsys, '--mode=sample', f'--workdir={tmp_path}/w', '--num_samples=5', '--sampling_levels=7'
    )
    assert code == 0 and 'sampling_levels7' in out, err
    line = json.loads((tmp_path / 'w' / 'metrics.jsonl').read_text().splitlines()[-1])
    assert len(line['level_loss']) == 20


def test_chains_at_every_level_train_it():
    model = compiled_model(Config().replace(**{**SMALL, 'mcmc_steps': (2,)}, num_levels=5))
    logs = model.train_step(IMAGES)
    assert np.isfinite(float(logs['loss'])) and np.nanmax(model.level_means['displacement'].result()) > 0


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--objective=dsm', '--act=lrelu'], ['--objective=dsm', '--act=swish']),
    (['--objective=dsm', '--shared_noise'], ['dsm', '--noshared_noise']),
    (['--objective=dsm', '--schedule=t6', '--mcmc_steps=3'], ['dsm', '--schedule=t1k']),
    (['--objective=dsm', '--energy_l2=0.1'], ['--energy_l2=0.1']),
    (['--objective=dsm', '--initializer', '--mcmc_steps=3'], ['dsm', '--initializer']),
    (['--schedule=cosine'], ['--mcmc_steps=0', '--schedule=t1k']),
    (['--mcmc_steps=0', '--initializer'], ['--mcmc_steps=0', '--initializer']),
    (['--num_levels=2', '--mcmc_steps=0,3'], ['--mcmc_steps=0,3', 'all levels']),
    (['--step_scale=0.5'], ['--step_scale=0.5']),
    (['--sampling_levels=41'], ['--sampling_levels=41', '--num_levels=40']),
    (['--sampling_levels=4', '--initializer', '--mcmc_steps=3'], ['--sampling_levels=4', 'initializer']),
])  # fmt: skip
def test_what_does_not_go_together(capsys, tmp_path, arguments, words):
    line = refused(capsys, *T1K, f'--workdir={tmp_path}/w', *arguments)
    assert all(word in line for word in words), line


def test_an_energy_keeps_its_scale_where_chains_sample_it(capsys, tmp_path):
    """A run of K = 0 sampled with K = 2 has F = f / s^2 still, and a run of K = 2 cannot be told
    otherwise."""
    golden.copied('t1k', tmp_path / 'w')
    assert (
        call(capsys, '--mode=sample', f'--workdir={tmp_path}/w', '--num_samples=2', '--mcmc_steps=2')[0] == 0
    )
    assert '--energy_scale=step here, noise there' in refused(
        capsys, '--mode=sample', f'--workdir={tmp_path}/w', '--energy_scale=step'
    )


def test_cost_counts_one_gradient_a_level(capsys):
    def cost(*arguments):
        code, out, err = call(capsys, *T1K, '--dry_run', *arguments)
        assert code == 0, err
        lines = [line.split(': ') for line in out.splitlines() if line.startswith('FLOPs')]
        return {label: int(number.replace(',', '')) for label, number in lines}

    approximation, matching = cost(), cost('--objective=dsm')
    gradient = approximation['FLOPs of one Langevin step of an image']
    assert approximation['FLOPs to sample an image'] == 40 * gradient
    assert cost('--sampling_levels=10')['FLOPs to sample an image'] == 10 * gradient
    assert math.isclose(approximation['FLOPs of a training step, per image'], 4 * gradient, rel_tol=0.15)
    assert gradient < matching['FLOPs of a training step, per image'] < 4 * gradient
