import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from drl_tf.base.errors import UserError
from drl_tf.data import digits
from drl_tf.evaluation.metrics import digits_classifier


@pytest.fixture(scope='module')
def held_out():
    return digits.load('test')


@pytest.mark.parametrize('factor, accuracy', [(1, 0.98), (2, 0.98), (4, 0.95)])
def test_recognises_held_out_digits(held_out, factor, accuracy):
    images, labels = held_out
    smaller = tf.cast(tf.round(digits_classifier.shrink(images, factor)), tf.uint8)
    probabilities = digits_classifier.predict(smaller)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == labels) >= accuracy


def test_features_of_the_held_out_digits_have_full_rank(held_out):
    features = digits_classifier.features(held_out[0])
    assert features.shape == (1000, digits_classifier.NUM_FEATURES) and features.dtype == np.float32
    assert np.linalg.matrix_rank(np.cov(features.T.astype(np.float64))) == digits_classifier.NUM_FEATURES


def test_an_even_grey_has_the_same_features_at_any_size():
    sizes = [np.full([1, size, size, 1], 77, np.uint8) for size in (8, 16, 28, 32, 64)]
    features = np.concatenate([digits_classifier.features(images) for images in sizes])
    np.testing.assert_allclose(features, np.broadcast_to(features[:1], features.shape), atol=1e-4)


@pytest.mark.parametrize(
    'images',
    [
        np.zeros([2, 32, 32, 3], np.uint8),
        np.zeros([2, 32, 16, 1], np.uint8),
        np.zeros([2, 32, 32], np.uint8),
        np.zeros([0, 32, 32, 1], np.uint8),
        np.zeros([2, 32, 32, 1], np.float32),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(UserError, match='grey uint8'):
        digits_classifier.features(images)


def flip_a_bit(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize('damage', [flip_a_bit, lambda content: content[:-100], lambda content: b''])
def test_damaged_weights_are_named(tmp_path, damage):
    path = tmp_path / 'damaged.npz'
    with open(digits_classifier.WEIGHTS, 'rb') as file:
        path.write_bytes(damage(file.read()))
    with pytest.raises(UserError, match=r'damaged\.npz'):
        digits_classifier.load(path)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match=r'absent\.npz'):
        digits_classifier.load(tmp_path / 'absent.npz')


def test_weights_of_another_network_are_named(tmp_path):
    np.savez(tmp_path / 'other.npz', np.zeros(3))
    with pytest.raises(UserError, match=r'other\.npz'):
        digits_classifier.load(tmp_path / 'other.npz')


def test_hash_is_that_of_the_content(tmp_path):
    path = tmp_path / 'abc'
    path.write_bytes(b'abc')
    assert digits_classifier.weights_hash(path) == 'ba7816bf8f01'
    assert digits_classifier.weights_hash() == digits_classifier.weights_hash(digits_classifier.WEIGHTS)


def test_weights_are_small():
    assert os.path.getsize(digits_classifier.WEIGHTS) < 1e6


def test_augmentation_keeps_the_range_and_acts_in_training_alone(held_out):
    images = tf.cast(held_out[0][:100], tf.float32) / 127.5 - 1
    augmentation = digits_classifier.augmentation()
    np.testing.assert_array_equal(augmentation(images, training=False), images)
    augmented = augmentation(images, training=True)
    assert augmented.shape == images.shape and np.abs(augmented).max() <= 1 + 1e-5
    assert np.abs(augmented - images).max(axis=(1, 2, 3)).min() > 0.01


def test_half_of_the_images_keep_their_resolution():
    noise = tf.random.stateless_uniform([400, 32, 32, 1], [0, 0], -1, 1)
    keras.utils.set_random_seed(0)
    coarse = digits_classifier.RandomResolution()(noise, training=True)
    kept = tf.reduce_all(coarse == noise, axis=[1, 2, 3])
    assert 0.4 < np.mean(kept) < 0.6


@pytest.mark.slow
def test_training_is_repeatable():
    images, labels = (values[:100] for values in digits.load('train'))
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        weights.append(digits_classifier.train(images, labels, epochs=1, batch_size=50).get_weights())
    for first, second in zip(*weights, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)
