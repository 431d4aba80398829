"""Training: the update rules, and what a step is a function of."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import change, images, initial, trained

from drl_tf.core import noise
from drl_tf.training.optimizers import WarmupAndDecay


def test_first_adam_step_has_the_learning_rates_size():
    moved = np.abs(change(trained(learning_rate=1e-3)[0], initial()))
    assert np.median(moved) == pytest.approx(1e-3, rel=1e-2)


def test_warmup_is_linear():
    rates = [float(WarmupAndDecay(2.0, 4)(step)) for step in range(6)]
    np.testing.assert_allclose(rates, [0.5, 1, 1.5, 2, 2, 2])
    assert float(WarmupAndDecay(1.0, 10_000, ahead=500)(0)) == pytest.approx(0.05)
    falling = [float(WarmupAndDecay(2.0, 0, decay_steps=100)(step)) for step in (0, 50, 100, 200)]
    np.testing.assert_allclose(falling, [2.0, 1.01, 0.02, 0.02], rtol=1e-6)


def test_ema_with_its_warmup():
    """After step n the average is d avg + (1 - d) w with d = min(decay, (1 + n) / (10 + n)); u is averaged
    too."""
    start, (model, _) = initial(), trained(learning_rate=1e-2)
    for average, before, after in zip(
        model.ema_network.weights, start.network.weights, model.network.weights, strict=True
    ):
        np.testing.assert_allclose(average, 2 / 11 * before + 9 / 11 * after, atol=1e-6)
    short = trained(learning_rate=1e-2, ema_decay=0.1)[0]
    kernels = [layer.conv_in.kernel.numpy() for layer in (short.ema_network, start.network, short.network)]
    np.testing.assert_allclose(kernels[0], 0.1 * kernels[1] + 0.9 * kernels[2], atol=1e-6)


def test_the_average_takes_nothing_from_a_bad_step_on():
    """A weight that is NaN in one step, a loss out of bounds: the step is noted, and all averages stand
    still, then and later."""
    assert int(trained()[0].first_bad_step) == -1
    assert int(trained(max_loss=1e-3)[0].first_bad_step) == 1
    model = initial()
    before, kernel = (
        [weight.numpy() for weight in model.ema_network.weights],
        model.network.conv_in.kernel.numpy(),
    )
    for value in (np.nan * kernel, kernel):
        model.network.conv_in.kernel.assign(value)
        model.train_step(images(4))
        assert int(model.first_bad_step) == 1
        for average, expected in zip(model.ema_network.weights, before, strict=True):
            np.testing.assert_array_equal(average, expected)


def test_u_moves_once_a_step():
    """One power iteration of the weights before the step, whatever K is."""
    start = initial()
    start.network.update_u()
    for model in (trained()[0], trained(mcmc_steps=(5,))[0]):  # K = 2, K = 5.
        for layer, expected in zip(
            model.network.normalised_layers(), start.network.normalised_layers(), strict=True
        ):
            np.testing.assert_allclose(layer.u, expected.u, atol=1e-6)


def test_chains_in_training_take_the_steps_of_their_level():
    """A batch of all levels with K = 1, 3, 2 moves each image as the model with that one K does."""
    x, level, seed = images(3), tf.range(3), tf.constant([5, 6])

    def chains(mcmc_steps):
        model = initial(num_levels=3, mcmc_steps=mcmc_steps)
        return model.chain(x, x, level, seed, 0, None)[0]

    together = chains((1, 3, 2))
    for image, steps in enumerate((1, 3, 2)):
        np.testing.assert_allclose(together[image], chains((steps,))[image], atol=1e-6)


def test_clipping_bounds_the_gradient():
    """Adam's first moment after one step is (1 - beta_1) times the gradient, here clipped to norm 0.01; the
    log has it unclipped."""
    model, logs = trained(clip_norm=0.01)
    moments = [m for m in model.optimizer.variables if 'momentum' in m.path]
    assert float(tf.linalg.global_norm([m.value for m in moments])) == pytest.approx(0.1 * 0.01, rel=1e-4)
    assert (
        logs['gradient_norm'] == pytest.approx(trained()[1]['gradient_norm'], rel=1e-5)
        and logs['gradient_norm'] > 0.01
    )


def test_energy_l2_adds_the_mean_square():
    """At one level the loss is f- - f+ plus l2 times the mean of f^2 over both halves, here large enough to
    see."""
    model, logs = trained(energy_l2=0.5, num_levels=1, batch_size=1)
    f_pos, f_neg = (float(model.level_means[name].result()[0]) for name in ('f_pos', 'f_neg'))
    assert logs['loss'] == pytest.approx(
        model.schedule.loss_weight[0] * (f_neg - f_pos) + 0.5 * (f_pos**2 + f_neg**2) / 2, rel=1e-4
    )


def test_level_means():
    """Per-level values are means over the images of that level: counts add to the batch, the loss to its
    mean."""
    model, logs = trained(num_levels=3)
    means = model.level_means
    assert float(tf.reduce_sum(means['loss'].count)) == 4
    assert float(tf.reduce_sum(means['loss'].total)) / 4 == pytest.approx(logs['loss'], rel=1e-5)
    difference = means['f_neg'].total - means['f_pos'].total
    np.testing.assert_allclose(
        means['loss'].total, difference * model.schedule.loss_weight, rtol=1e-4, atol=1e-6
    )


def test_the_seed_sets_the_first_weights():
    first, second, other = (
        np.concatenate([np.ravel(w) for w in initial(seed=seed).network.weights]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.mean(first != other) > 0.5


def test_a_step_is_a_function_of_the_seed():
    first, second = (change(model, initial()) for model, _ in (trained(), trained.__wrapped__()))
    other = change(trained(seed=2)[0], initial(seed=2))
    np.testing.assert_array_equal(first, second)
    assert np.any(first != other)


def test_levels_are_uniform():
    counts = np.bincount(noise.levels([1, 2], 6, 60_000), minlength=6)
    assert len(counts) == 6 and np.abs(counts - 10_000).max() < 500
