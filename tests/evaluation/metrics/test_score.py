"""Scores of sets of images: their names, their parts, and what real and false digits get."""

import dataclasses
import json
import logging

import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.config.config import Data
from drl_tf.data import digits, indexed, pipeline
from drl_tf.evaluation.metrics import digits_classifier, extractors, score, statistics

DATA = Data(image_size=16, image_channels=1)
FRECHET = 'frechet_distance_digits_classifier'


@pytest.fixture(scope='module')
def extractor():
    return extractors.load(DATA)


@pytest.fixture(scope='module')
def real(extractor):
    return statistics.summarise(
        extractor, pipeline.image_batches(DATA, 'train', 1500), 'train', score.KEPT_FEATURES
    )[0]


@pytest.fixture(scope='module')
def held_out():
    return pipeline.load_images(DATA, 'test'), digits.load('test')[1]


@pytest.fixture(scope='module')
def floor(extractor, held_out):
    return statistics.summarise(extractor, [held_out[0]], 'test')[0]


@pytest.fixture(scope='module')
def noise():
    return np.random.default_rng(0).integers(0, 256, [1000, 16, 16, 1], dtype=np.uint8)


def test_noise_is_far_beyond_the_floor(extractor, real, floor, noise):
    scores = score.score(extractor, [noise[:300], noise[300:]], real, floor)
    assert scores[FRECHET] > 50 * scores['floor'] > 0
    assert (scores['num_samples'], scores['num_real'], scores['num_held_out']) == (1000, 1500, 1000)
    assert scores['extractor_hash'] == digits_classifier.weights_hash() and scores['real'] == 'train'
    assert scores['warning'] is None
    assert json.loads(json.dumps(scores)) == scores


def test_real_digits_are_near_the_floor_and_of_all_classes(extractor, real, held_out):
    """Two halves of the held-out digits: as far from the training digits as each other, and from blank ones
    far more."""
    images, labels = held_out
    first, second = np.split(np.random.default_rng(0).permutation(len(images)), 2)
    half, other = statistics.summarise(extractor, [images[first]], 'test')[0], images[second]
    scores = score.score(extractor, [other], real, half, labels[second])
    assert 0 < scores[FRECHET] < 2 * scores['floor'] < 4 * scores[FRECHET]
    assert score.score(extractor, [np.zeros_like(other)], real)[FRECHET] > 20 * scores['floor']
    np.testing.assert_allclose(scores['predicted_classes'], 0.1, atol=0.01)
    assert scores['class_agreement'] > 0.97 and 5 < scores['classifier_score_digits_classifier'] <= 10
    assert 'class_agreement' not in score.score(extractor, [images[:100]], real)


def test_parts_as_large_as_the_held_out_digits(extractor, real, held_out, noise):
    """400 digits, then 700 images of noise: the mean of the distances of the first 400 and the next 400; the
    rest is too few."""
    images = held_out[0][:400]
    small = statistics.summarise(extractor, [images], 'test')[0]
    real = dataclasses.replace(real, features=real.features[:0])
    both = score.score(extractor, [images, noise[:700]], real, small)
    expected = np.mean([score.score(extractor, [part], real)[FRECHET] for part in (images, noise[:400])])
    assert both[f'{FRECHET}_held_out_size'] == pytest.approx(expected)
    assert f'{FRECHET}_held_out_size' not in score.score(extractor, [images[:300]], real, small)


def test_parts_of_samples_in_the_order_of_their_classes_are_of_all_classes(
    extractor, real, held_out, monkeypatch
):
    """Samples sorted by class, of which 200 are used at once, score as the same samples in random order."""
    monkeypatch.setattr(score, 'KEPT_FEATURES', 200)
    images, labels = held_out
    small = statistics.summarise(extractor, [images[:200]], 'test')[0]
    ordered = images[np.argsort(labels, kind='stable')]
    first, any_part = (score.score(extractor, [ordered], real, small, total=n) for n in (0, len(ordered)))
    assert first['recall'] < 0.5 < any_part['recall'] and first['coverage'] < any_part['coverage']
    size = f'{FRECHET}_held_out_size'
    assert any_part[size] < first[size] / 2 and any_part[FRECHET] == first[FRECHET]


def test_real_features_in_the_order_of_their_classes_are_of_all_classes(
    extractor, real, held_out, monkeypatch
):
    """A file of activations has all features, of which 200 are used at once: random ones."""
    few = dataclasses.replace(real, features=real.features[indexed.random_places(200, len(real.features))])
    expected = score.score(extractor, [held_out[0][:100]], few)
    monkeypatch.setattr(score, 'KEPT_FEATURES', 200)
    found = score.score(extractor, [held_out[0][:100]], real)
    assert found['recall'] == expected['recall'] and found['precision'] == expected['precision']


def test_too_few_samples_are_warned_of(extractor, real, held_out, caplog):
    with caplog.at_level(logging.WARNING, logger='absl'):
        scores = score.score(extractor, [held_out[0][:64]], real)
    assert '64 images' in scores['warning'] and scores['warning'] in caplog.text


def test_scores_that_need_features_are_left_out_without_them(extractor, held_out):
    without = statistics.summarise(extractor, [held_out[0]], 'test', keep=0)[0]
    scores = score.score(extractor, [held_out[0][:100]], without)
    assert FRECHET in scores and not {'precision', 'kernel_distance_digits_classifier'} & scores.keys()


def test_too_few_or_other_images_are_refused(extractor, real):
    with pytest.raises(UserError, match='1 images are too few'):
        score.score(extractor, [np.zeros([1, 16, 16, 1], np.uint8)], real)
    with pytest.raises(UserError, match='grey uint8'):
        score.score(extractor, [np.zeros([3, 16, 16, 3], np.uint8)], real)
