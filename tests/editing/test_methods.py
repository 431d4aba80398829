"""The methods of `EnergyModel` that change images: kept pixels, reproducibility, refusals."""

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_models import COOPERATIVE, OPTIONS, PRECONDITIONED, moved_model

from drl_tf.base.errors import UserError
from drl_tf.core import noise
from drl_tf.core.inverse import Plan
from drl_tf.core.posterior import Effort
from drl_tf.core.sampling import Draw
from drl_tf.editing.methods import Editing

QUICK = Plan('posterior', Effort(num_steps=1))
RECIPES = {
    't6': OPTIONS,
    'cdrl': COOPERATIVE.replace(num_classes=3),
    'preconditioned': PRECONDITIONED.replace(num_classes=3, final_denoise=True),
}
HOLE = np.zeros([8, 8, 1], bool)
HOLE[2:6, 3:7] = True


def editing(recipe):
    return Editing(moved_model(RECIPES[recipe].replace(num_levels=2)))


def images(count=3):
    return np.random.default_rng(0).integers(0, 256, [count, 8, 8, 1], np.uint8)


@pytest.mark.parametrize('recipe', ['t6', 'preconditioned'])
def test_seen_pixels_stay_bit_for_bit(recipe):
    """Inpainting keeps the seen pixels of grey levels and of floats. It changes the missing ones, whose given
    values do not matter."""
    model = editing(recipe)
    x = images()
    found = model.inpaint(x, HOLE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, ~HOLE[..., 0]], x[:, ~HOLE[..., 0]])
    assert (found[:, HOLE[..., 0]] != x[:, HOLE[..., 0]]).any()
    np.testing.assert_array_equal(model.inpaint(np.where(HOLE, np.uint8(0), x), HOLE), found)
    floats = np.random.default_rng(1).uniform(-1, 1, x.shape).astype(np.float32)
    mine = model.inpaint(floats, HOLE)
    assert mine.dtype == np.float32 and np.abs(mine).max() <= 1
    np.testing.assert_array_equal(mine[:, ~HOLE[..., 0]], floats[:, ~HOLE[..., 0]])


@pytest.mark.parametrize('recipe', ['cdrl', 'preconditioned'])
def test_the_ends_of_an_interpolation_are_the_two_samples(recipe):
    """Bit for bit where a sample is drawn in a batch of the same size; between two classes too."""
    model = editing(recipe)
    frames = model.interpolate(4, 9, num_frames=3, labels=[1, 2])
    seed = tf.constant(noise.root(0, noise.SAMPLING))
    for place, index in ((0, 4), (2, 9)):
        terms = ((tf.fill([3], [2, 3][place // 2]), 1.0),)
        batch = model.model.sample(3, seed, Draw(tf.constant(index - place), terms=terms), most_parts=1)[-1]
        expected = np.clip(np.round((batch.numpy() + 1) * np.float32(127.5)), 0, 255)[place]
        np.testing.assert_array_equal(frames[place], expected)
    assert (frames[1] != frames[0]).any() and (frames[1] != frames[2]).any()


def test_noise_between_two_images_is_standard_normal():
    z = noise.normal([1, 2], [3, 64, 64, 1], noise.between(5, 7, tf.constant([0.0, 0.3, 1.0]))).numpy()
    np.testing.assert_array_equal(z[0], noise.normal([1, 2], [1, 64, 64, 1], 5)[0])
    np.testing.assert_array_equal(z[2], noise.normal([1, 2], [1, 64, 64, 1], 7)[0])
    assert np.std(z[1]) == pytest.approx(1, abs=0.03)
    assert np.mean(z[1] * z[0]) == pytest.approx(np.cos(0.15 * np.pi), abs=0.04)


@pytest.mark.parametrize('index', [int, tf.constant])
def test_noise_between_an_image_and_itself_is_that_of_the_image(index):
    between = noise.between(index(5), index(5), tf.constant([0.0, 0.5, 1.0]))
    expected = noise.normal([0, 1], [1, 64, 64, 1], 5).numpy().repeat(3, axis=0)
    np.testing.assert_array_equal(noise.normal([0, 1], [3, 64, 64, 1], between), expected)


def test_results_depend_on_their_own_image_and_index_alone():
    model = editing('preconditioned')
    x = images(3)
    many = model.inpaint(x, HOLE, seed=3, labels=[0, 1, 2], plan=QUICK).astype(int)
    few = model.inpaint(x[:2], HOLE, seed=3, labels=[0, 1], plan=QUICK).astype(int)
    assert np.abs(many[:2] - few).max() <= 1


def test_restored_images_degrade_to_what_was_given():
    """The means of 2 x 2 restored pixels are the given ones, up to the noise of level 0 and rounding."""
    model = editing('preconditioned')
    given = np.random.default_rng(2).uniform(-0.5, 0.5, [2, 4, 4, 1]).astype(np.float32)
    x = model.restore(given, 'super2', plan=QUICK) / 127.5 - 1
    smaller = x.reshape(2, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(smaller, given, atol=0.05)


def test_a_small_strength_keeps_an_image_and_a_large_one_does_not():
    model = editing('preconditioned')
    x = np.full([2, 8, 8, 1], 120, np.uint8)
    level = model.edit(x, strength=0.01)
    far = model.edit(x, strength=1.0)
    assert np.abs(level.astype(int) - 120).mean() < np.abs(far.astype(int) - 120).mean()


@pytest.mark.parametrize(
    ('recipe', 'call', 'words'),
    [
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=QUICK), 'give plan.method=replace'),
        ('t6', lambda model: model.restore(images(), 'blur:1'), 'cannot be undone by plan.method=replace'),
        ('t6', lambda model: model.restore(images(), 'sharpen'), 'degradation=sharpen must be super2'),
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=Plan('replace', num_levels=3)),
            'plan.num_levels=3 needs plan.method=posterior'),
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=Plan('posteriour')),
            'plan.method=posteriour must be posterior or replace'),
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=Plan('replace', Effort(rounds=0))),
            'plan.effort.rounds=0 must be a whole number from 1'),
        ('preconditioned', lambda model: model.inpaint(images(), HOLE, plan=Plan('posterior', Effort(-1))),
            'plan.effort.num_steps=-1 must be'),
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=Plan('replace', Effort(step=0.0))),
            'plan.effort.step=0.0 must be above 0'),
        ('t6', lambda model: model.inpaint(images(), HOLE, plan=Plan('replace', num_levels=-1)),
            'plan.num_levels=-1 must be'),
        ('t6', lambda model: model.inpaint(images(), np.zeros([5, 5, 1])), 'missing of shape (5, 5, 1)'),
        ('preconditioned', lambda model: model.restore(images(), 'super2'), 'must be [n, 4, 4, 1]'),
        ('preconditioned', lambda model: model.restore(images(), 'noise'), 'needs its deviation'),
        ('preconditioned', lambda model: model.restore(images().astype(np.float32), 'blur:1'),
            'observations reach 249, too far for images in [-1, 1]'),
        ('preconditioned', lambda model: model.restore(np.full([1, 4, 4, 1], 1.03), 'super2'), 'reach 1.03'),
        ('preconditioned', lambda model: model.restore(np.full([1, 8, 8, 1], 2.0), 'noise:0.1'), 'reach 2'),
        ('preconditioned', lambda model: model.edit(images(), strength=0.0), 'strength=0.0'),
        ('preconditioned', lambda model: model.interpolate(num_frames=1), 'num_frames=1 must be'),
        ('preconditioned', lambda model: model.inpaint(images(), HOLE, labels=3), 'must be from -1 to 2'),
    ],
)  # fmt: skip
def test_wrong_arguments_get_one_line(recipe, call, words):
    with pytest.raises(UserError) as error:
        call(editing(recipe))
    assert words in str(error.value) and '--' not in str(error.value)
