import numpy as np
import pytest
from PIL import Image

from drl_tf.config import config
from drl_tf.data import dataset_table, images


def random_picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def resolved(dataset, size=0, channels=0):
    return dataset_table.resolve(config.Data(dataset=dataset, image_size=size, image_channels=channels))


def fitted(picture, *args):
    result = images.crop_and_resize(picture, resolved(*args)).numpy()
    assert result.dtype == np.uint8
    return result


def pillow_resize(picture, size):
    """Pillow's bilinear filter widens with the reduction, that is, it antialiases; it computes in fixed
    point."""
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)).astype(int)


def test_celeb_a_loses_20_rows_above_and_below():
    picture = random_picture(218, 178, 3)
    expected = pillow_resize(np.ascontiguousarray(picture[20:198]), 64)
    np.testing.assert_allclose(fitted(picture, 'celeb_a'), expected, atol=1)
    picture[:20], picture[20:-20], picture[-20:] = 255, 7, 255
    assert np.unique(fitted(picture, 'celeb_a')).tolist() == [7]


@pytest.mark.parametrize('size', [64, 128])
@pytest.mark.parametrize(
    ('shape', 'square'),
    [((256, 341), np.s_[:, 42:298]), ((300, 256), np.s_[22:278, :]), ((256, 256), np.s_[:, :])],
)
def test_lsun_keeps_the_square_at_the_centre(shape, square, size):
    picture = random_picture(*shape, 3)
    expected = pillow_resize(np.ascontiguousarray(picture[square]), size)
    np.testing.assert_allclose(fitted(picture, 'lsun_church', size), expected, atol=1)


def test_pictures_of_the_right_size_are_unchanged():
    picture = random_picture(32, 32, 3)
    np.testing.assert_array_equal(fitted(picture, 'cifar10'), picture)


def test_mnist_is_padded_by_zeros_and_then_averaged():
    picture = random_picture(28, 28, 1)
    padded = np.pad(picture, [(2, 2), (2, 2), (0, 0)])
    np.testing.assert_array_equal(fitted(picture, 'mnist'), padded)
    average = np.rint(padded.reshape(16, 2, 16, 2, 1).mean((1, 3)))
    np.testing.assert_array_equal(fitted(picture, 'mnist', 16), average)


def test_colour_becomes_grey_and_grey_colour():
    picture = random_picture(32, 32, 3)
    np.testing.assert_allclose(
        fitted(picture, 'cifar10', 32, 1)[..., 0], picture @ [0.299, 0.587, 0.114], atol=0.6
    )
    grey = random_picture(32, 32, 1)
    np.testing.assert_array_equal(fitted(grey, 'digits', 32, 3), np.repeat(grey, 3, axis=-1))
    np.testing.assert_array_equal(fitted(np.repeat(grey, 3, axis=-1), 'cifar10', 32, 1), grey)


def test_a_batch_is_treated_like_its_pictures():
    batch = random_picture(3, 218, 178, 3)
    np.testing.assert_array_equal(fitted(batch, 'celeb_a'), [fitted(picture, 'celeb_a') for picture in batch])


def test_small_pictures_are_enlarged_with_one_warning(caplog):
    picture = np.full([32, 32, 3], 9, np.uint8)
    for _ in range(2):
        np.testing.assert_array_equal(fitted(picture, 'cifar10', 48), np.full([48, 48, 3], 9))
    assert caplog.text.count('Pictures of cifar10 are smaller than --image_size=48: enlarged') == 1
