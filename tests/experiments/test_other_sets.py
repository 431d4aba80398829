"""The sets that images are told from: what is in them, and names that are refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.config.config import Config
from drl_tf.data import letters
from drl_tf.data.indexed import random_places
from drl_tf.experiments import other_sets, set_names

CONFIG = Config().replace(dataset='digits', image_size=16, image_channels=1)
IMAGES = np.random.default_rng(0).integers(0, 100, [200, 16, 16, 1]).astype(np.uint8)


@pytest.fixture(scope='module')
def made():
    return other_sets.load((*set_names.MADE, *set_names.ALTERED), CONFIG, IMAGES, None)


def test_every_set_has_as_many_images_of_the_same_shape(made):
    assert all(images.shape == IMAGES.shape and images.dtype == np.uint8 for images in made.values())


def test_noise_has_the_mean_and_the_deviation_of_the_images(made):
    assert made['noise'].mean() == pytest.approx(IMAGES.mean(), abs=2)  # Clipped at 0.
    assert made['noise'].std() == pytest.approx(IMAGES.std(), rel=0.05)


def test_constant_images_have_one_random_level_each(made):
    levels = made['constant']
    assert (levels == levels[:, :1, :1]).all()
    assert levels[:, 0, 0, 0].std() == pytest.approx(256 / np.sqrt(12), rel=0.1)


def test_interpolations_are_means_of_two_images(made):
    mean = (IMAGES[:-1].astype(float) + IMAGES[1:]) / 2
    np.testing.assert_allclose(made['interpolation'][:-1], mean, atol=0.5)


def test_altered_images_are_those_of_the_ranking(made):
    np.testing.assert_array_equal(made['inverted'], 255 - IMAGES)
    np.testing.assert_array_equal(made['shifted'], np.roll(IMAGES, 5, axis=2))


def test_the_seed_decides_the_noise(made):
    again = other_sets.load(('noise', 'constant'), CONFIG, IMAGES, None)
    np.testing.assert_array_equal(again['noise'], made['noise'])
    other = other_sets.load(('noise', 'constant'), CONFIG.replace(seed=1), IMAGES, None)
    assert (other['noise'] != made['noise']).any() and (other['constant'] != made['constant']).any()


def test_letters_are_distinct_and_from_many_fonts():
    drawn = letters.draw([1000, 16, 16, 1])
    assert len(np.unique(drawn.reshape(1000, -1), axis=0)) == 1000
    assert (drawn.max(axis=(1, 2, 3)) > 150).all() and len(letters.fonts()) >= 20
    np.testing.assert_array_equal(letters.draw([3, 16, 16, 3])[..., 2], drawn[:3, ..., 0])


def test_some_images_of_an_array_are_random_ones(tmp_path):
    """They are in batches of 256, and may be in the order of their classes."""
    ordered = np.broadcast_to(np.arange(1000)[:, None, None, None] // 4, [1000, 16, 16, 1]).astype(np.uint8)
    np.savez(tmp_path / 'ordered.npz', images=ordered)
    name = f'folder:{tmp_path}/ordered.npz'
    found = other_sets.load((name,), CONFIG, IMAGES, 40)[name]
    np.testing.assert_array_equal(found, ordered[random_places(40, 1000)])
    assert found.min() < 30 and found.max() > 220


def test_pictures_of_a_folder_are_resized(tmp_path):
    Image.fromarray(np.full([40, 30, 3], 7, np.uint8)).save(tmp_path / 'large.png')
    name = f'folder:{tmp_path}'
    found = other_sets.load((name,), CONFIG, IMAGES, None, resize=True)[name]
    np.testing.assert_array_equal(found, np.full([1, 16, 16, 1], 7))


def test_folders_and_datasets(tmp_path):
    for index in range(3):
        Image.fromarray(IMAGES[index, ..., 0]).save(tmp_path / f'{index}.png')
    name = f'folder:{tmp_path}'
    found = other_sets.load((name,), CONFIG, IMAGES, 2)
    np.testing.assert_array_equal(found[name], IMAGES[random_places(2, 3)])
    np.testing.assert_array_equal(other_sets.load((name,), CONFIG, IMAGES, None)[name], IMAGES[:3])
    assert set_names.data_of('emoji', CONFIG).image_channels == 1
    wide = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, image_width=24))
    assert set_names.data_of('lsun_bridge', wide).image_width == 24
    grey = CONFIG.replace(data_dir='there', manual_dir='')
    assert set_names.data_of('svhn_cropped', grey).data_dir == 'there'


@pytest.mark.parametrize('names, words', [
    (('noize',), r'^--ood=noize is unknown, did you mean noise\? Or give one of noise'),
    (('svhn',), r'^--ood=svhn is unknown: give one of noise, constant'),
    (('digits',), r'^--ood=digits is the dataset of the model itself'),
    (('toy_two_moons',), r'^--ood=toy_two_moons holds points'),
    (('folder',), r'^--ood=folder is not there: give folder:DIR'),
    (('folder:none',), r'^--ood=folder:none is not there: give folder:DIR'),
    (('celeb_a_hq',), r'^--ood=celeb_a_hq does not go with this model: --image_size=16'),
    (('noise', 'noise'), r'^--ood=noise,noise names a set twice'),
])  # fmt: skip
def test_wrong_names_are_refused(names, words):
    with pytest.raises(UserError, match=words):
        set_names.check(names, CONFIG)


def test_right_names_are_accepted(tmp_path):
    names = (*set_names.MADE, *set_names.ALTERED, 'emoji', 'cifar10', 'celeb_a', f'folder:{tmp_path}')
    set_names.check(names, CONFIG)
