"""What is done to real digits ranks as it must in every score, in the features of the digits classifier."""

import numpy as np
import pytest
import scipy.ndimage

from drl_tf.data import digits
from drl_tf.evaluation.metrics import digits_classifier
from drl_tf.evaluation.metrics.frechet import frechet_distance
from drl_tf.evaluation.metrics.kernel import kernel_distance
from drl_tf.evaluation.metrics.neighbours import neighbour_scores

NUM = 1000


def blurred(images, deviation):
    return (
        scipy.ndimage.gaussian_filter(images.astype(np.float32), (0, deviation, deviation, 0))
        .round()
        .astype(np.uint8)
    )


def noisy(images, deviation):
    noise = np.random.default_rng(0).normal(size=images.shape) * deviation
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope='module')
def scores():
    """Returns the scores of real digits, unchanged or changed as `what` says, against other real digits:
    {what: {score: value}}."""
    images, labels = digits.load('train')
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    real, half = images[:NUM], images[NUM : 2 * NUM]
    others, classes = images[NUM:], labels[NUM:]
    sets = {
        'no change': half,
        'a little blurred': blurred(half, 1.5),
        'blurred': blurred(half, 3.0),
        'a little noisy': noisy(half, 40),
        'noisy': noisy(half, 120),
        'nine classes': others[classes != 4][:NUM],
        'five classes': others[classes < 5][:NUM],
    }
    real, *sets_features = np.split(
        digits_classifier.features(np.concatenate([real, *sets.values()])), 1 + len(sets)
    )
    return {what: scores_of(real, fake) for what, fake in zip(sets, sets_features, strict=True)}


def scores_of(real, fake):
    distance, error = kernel_distance(real, fake)
    return {
        'frechet': frechet_distance(real, fake),
        'kernel': distance,
        'error': error,
        **neighbour_scores(real, fake),
    }


def in_turn(scores, name, *order):
    return [scores[change][name] for change in order]


BLUR = ('no change', 'a little blurred', 'blurred')
NOISE = ('no change', 'a little noisy', 'noisy')
CLASSES = ('no change', 'nine classes', 'five classes')


@pytest.mark.parametrize('order', [BLUR, NOISE, CLASSES])
def test_distances_grow_with_the_damage(scores, order):
    floor, mild, strong = in_turn(scores, 'frechet', *order)
    assert 2 * floor < mild < strong / 2
    floor, mild, strong = in_turn(scores, 'kernel', *order)
    assert floor < mild < strong / 2 and strong > floor + 3 * scores['no change']['error']


def test_halves_of_the_real_digits_are_at_no_distance(scores):
    """The Fréchet distance, which is biased, is beneath a hundredth of that of noisy digits; the kernel
    distance, which is not, is 0."""
    assert scores['no change']['frechet'] < scores['noisy']['frechet'] / 100
    assert abs(scores['no change']['kernel']) < 3 * scores['no change']['error']


def test_halves_of_the_real_digits_cover_each_other(scores):
    same = scores['no change']
    assert min(same['precision'], same['recall'], same['coverage']) > 0.85
    assert same['density'] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize('order', [BLUR, NOISE])
@pytest.mark.parametrize('name', ['precision', 'density', 'coverage'])
def test_fewer_damaged_digits_lie_among_the_real(scores, order, name):
    same, mild, strong = in_turn(scores, name, *order)
    assert strong < mild < same


@pytest.mark.parametrize('name, least', [('recall', 0.05), ('coverage', 0.05)])
def test_dropped_classes_are_missed(scores, name, least):
    same, nine, five = in_turn(scores, name, *CLASSES)
    assert nine < same - least and five < nine - 4 * least


@pytest.mark.parametrize('name', ['precision', 'density'])
def test_dropped_classes_leave_what_remains_real(scores, name):
    same, nine, five = in_turn(scores, name, *CLASSES)
    assert nine == pytest.approx(same, abs=0.05) and five == pytest.approx(same, abs=0.1)
