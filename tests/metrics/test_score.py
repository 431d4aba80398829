import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from drl_tf.data import digits
from drl_tf.errors import UserError
from drl_tf.metrics import digits_classifier, score


def at_16_px(split):
    images, labels = digits.load(split)
    return tf.cast(tf.round(digits_classifier.shrink(images, 2)), tf.uint8).numpy(), labels


@pytest.fixture(scope='module')
def train():
    return at_16_px('train')[0]


@pytest.fixture(scope='module')
def held_out():
    return at_16_px('test')


def test_noise_is_far_beyond_the_floor(train, held_out):
    noise = np.random.default_rng(0).integers(0, 256, [1000, 16, 16, 1], dtype=np.uint8)
    scores = score.digits_frechet(noise, train, held_out[0])
    assert scores['frechet_distance_digits_classifier'] > 50 * scores['floor'] > 0
    assert (scores['num_samples'], scores['num_real'], scores['num_held_out'], scores['image_size']) == (1000, 4000, 1000, 16)
    assert scores['extractor_hash'] == digits_classifier.weights_hash()
    assert scores['warning'] is None
    assert json.loads(json.dumps(scores)) == scores


def test_real_digits_are_at_the_floor_and_of_all_classes(train, held_out):
    scores = score.digits_frechet(held_out[0], train, held_out[0])
    assert scores['frechet_distance_digits_classifier'] == pytest.approx(scores['floor'])
    np.testing.assert_allclose(scores['predicted_classes'], 0.1, atol=0.01)


def test_parts_as_large_as_the_held_out_digits(train, held_out):
    """400 digits, then 700 images of noise: the mean of the distances of the first 400 and the next 400; the rest is too few."""
    images = held_out[0][:400]
    noise = np.random.default_rng(0).integers(0, 256, [700, 16, 16, 1], dtype=np.uint8)
    both = score.digits_frechet(np.concatenate([images, noise]), train, images)
    alone = [score.digits_frechet(part, train, images) for part in (images, noise[:400])]
    expected = np.mean([part['frechet_distance_digits_classifier'] for part in alone])
    assert both['frechet_distance_held_out_size'] == pytest.approx(expected)
    assert 'frechet_distance_held_out_size' not in score.digits_frechet(images[:300], train, images)


def test_a_lost_class_shows(train, held_out):
    images, labels = held_out
    scores = score.digits_frechet(images[labels != 9], train, images)
    assert scores['frechet_distance_digits_classifier'] > 5 * scores['floor']
    assert scores['predicted_classes'][9] < 0.01


def test_too_few_samples_are_warned_of(train, held_out, caplog):
    with caplog.at_level(logging.WARNING, logger='absl'):
        scores = score.digits_frechet(held_out[0][:64], train[:200], held_out[0][:100])
    assert '64 samples' in scores['warning'] and scores['warning'] in caplog.text


@pytest.mark.parametrize('shape', [(10, 32, 32, 1), (10, 16, 16, 3), (10, 16, 16), (1, 16, 16, 1)])
def test_wrong_samples(train, held_out, shape):
    with pytest.raises(UserError, match=r'of one shape|at least 2'):
        score.digits_frechet(np.zeros(shape, np.uint8), train[:100], held_out[0][:100])


def test_colour_images_are_refused():
    colour = np.zeros([10, 16, 16, 3], np.uint8)
    with pytest.raises(UserError, match='grey'):
        score.digits_frechet(colour, colour, colour)
