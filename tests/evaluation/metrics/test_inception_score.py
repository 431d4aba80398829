import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.data import digits
from drl_tf.evaluation.metrics import digits_classifier
from drl_tf.evaluation.metrics.inception_score import classifier_score


def by_definition(logits):
    """exp of the mean over images of sum_y p(y|x) log(p(y|x) / p(y))."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return np.exp(np.mean([sum(q * np.log(q / m) for q, m in zip(row, marginal, strict=True)) for row in p]))


def random_logits(num, classes=7, scale=2.0):
    return np.random.default_rng(0).normal(size=(num, classes)) * scale


@pytest.mark.parametrize('num, splits', [(40, 1), (40, 4), (43, 4)])
def test_mean_and_deviation_over_random_splits(num, splits):
    logits = random_logits(num)
    parts = np.array_split(np.random.default_rng(5).permutation(logits), splits)
    expected = [by_definition(part) for part in parts]
    mean, deviation = classifier_score(logits, splits, seed=5)
    assert mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert deviation == pytest.approx(np.std(expected), rel=1e-10, abs=1e-12)


def test_one_where_all_images_look_alike():
    np.testing.assert_allclose(classifier_score(np.zeros([50, 8])), (1, 0), atol=1e-12)
    np.testing.assert_allclose(classifier_score(np.tile(random_logits(1), [50, 1])), (1, 0), atol=1e-12)


@pytest.mark.parametrize('certainty', [50.0, 1e4, 1e30])
@pytest.mark.parametrize('unused', [0, 3])
def test_as_many_as_the_classes_where_each_is_as_certain_as_the_others(certainty, unused):
    """Equally certain images of six classes score 6, even if an unused class has probability 0 in float64."""
    logits = np.pad(np.tile(np.eye(6), [20, 1]), [(0, 0), (0, unused)]) * certainty
    np.testing.assert_allclose(classifier_score(logits, splits=1), (6, 0), rtol=1e-12)


def test_digits_sorted_by_class_score_as_in_any_other_order():
    images, labels = digits.load('test')
    logits = np.log(digits_classifier.predict(images))
    assert classifier_score(logits)[0] > 5
    assert classifier_score(logits[np.argsort(labels)])[0] == pytest.approx(
        classifier_score(logits)[0], rel=0.02
    )


def test_a_constant_for_each_image_changes_nothing():
    logits = random_logits(40)
    shifted = classifier_score(logits + np.arange(40)[:, None] * 100)
    np.testing.assert_allclose(shifted, classifier_score(logits), rtol=1e-9)


def test_fewer_images_than_splits():
    with pytest.raises(UserError, match='9 images are too few'):
        classifier_score(random_logits(9))


@pytest.mark.parametrize(
    'logits', [np.zeros([20]), np.zeros([20, 2, 2]), np.zeros([20, 3], np.int32), np.full([20, 3], np.nan)]
)
def test_what_is_no_logits(logits):
    with pytest.raises(UserError, match='logits must be'):
        classifier_score(logits)
