"""How densities rank images, against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from drl_tf.experiments import ranking

IMAGES = np.random.default_rng(0).integers(0, 200, [400, 16, 16, 3]).astype(np.uint8)


def test_auroc_is_that_of_scikit_learn_also_with_ties():
    real, other = (np.random.default_rng(seed).integers(0, 9, 200 + seed) for seed in (0, 1))
    expected = roc_auc_score([1] * len(real) + [0] * len(other), np.concatenate([real, other]))
    assert ranking.auroc(real, other) == pytest.approx(expected)


def test_auroc_of_two_normal_scores():
    """P(a > b) of normal a and b one deviation apart is Phi(1 / sqrt 2)."""
    real, other = np.random.default_rng(0).normal([[1.0], [0.0]], 1, [2, 20_000])
    assert ranking.auroc(real, other) == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.01)


def test_a_brighter_image_is_less_dense_and_both_sides_are_atypical():
    mean = IMAGES.mean()

    def log_prob(images):
        return -images.mean((1, 2, 3))

    found = ranking.ranking(log_prob, -mean, IMAGES)
    assert found['black'] == {'log_prob': 0.0, 'typicality': 1.0}
    assert found['white'] == {'log_prob': 1.0, 'typicality': 1.0}
    assert found['shuffled']['log_prob'] == found['shifted']['typicality'] == 0.5


def test_other_images_are_what_their_names_say():
    others = ranking.others(IMAGES, seed=1)
    assert all(other.shape == IMAGES.shape and other.dtype == np.uint8 for other in others.values())
    whole = [
        np.sort(images.reshape(400, -1, 3).astype(int) @ [1, 256, 256**2], axis=1)
        for images in (others['shuffled'], IMAGES)
    ]
    np.testing.assert_array_equal(*whole)  # Each pixel keeps its colour.
    np.testing.assert_array_equal(others['inverted'] + IMAGES, 255)
    np.testing.assert_array_equal(others['shifted'][:, :, 5:], IMAGES[:, :, :-5])
    middle = (IMAGES > 100) & (IMAGES < 150)
    assert np.std((others['noisy'].astype(float) - IMAGES)[middle]) == pytest.approx(30, abs=0.5)
    assert others['blurred'].std() < IMAGES.std() / 2
    assert not np.array_equal(others['uniform'], ranking.others(IMAGES, seed=2)['uniform'])


def test_pixels_of_grey_images_are_shuffled_as_by_numpy():
    grey = IMAGES[..., :1]
    shuffled = np.random.default_rng(1).permuted(grey.reshape(400, -1, 1), axis=1)
    np.testing.assert_array_equal(ranking.others(grey, seed=1)['shuffled'], shuffled.reshape(grey.shape))


def test_letters_are_different_and_inside_the_image():
    letters = ranking.others(IMAGES)['letters']
    assert len(np.unique(letters[:48].reshape(48, -1), axis=0)) == 48
    assert not letters[:48, :, [0, -1]].any() and (letters[:48].max((1, 2)) > 200).all()
    np.testing.assert_array_equal(letters[:2], letters[48:50])
