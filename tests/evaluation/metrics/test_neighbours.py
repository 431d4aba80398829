import numpy as np
import pytest

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import neighbours
from drl_tf.evaluation.metrics.neighbours import neighbour_scores


def gaussian(seed, num, d=4, shift=0.0):
    return np.random.default_rng(seed).normal(size=(num, d)) + shift


def distances(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=2)


def radii(x, k):
    """The distance of each to its k-th nearest neighbour: the (k + 1)-th of its distances, the first being
    its own of 0."""
    return np.sort(distances(x, x), axis=1)[:, k]


def by_definition(real, fake, k, density_k):
    """Equations 1 and 2 of Kynkäänniemi et al. and 3 and 5 of Naeem et al."""
    apart = distances(real, fake)
    real_radii, fake_radii, density_radii = radii(real, k), radii(fake, k), radii(real, density_k)
    inside = apart < density_radii[:, None]
    return {
        'precision': np.mean([(apart[:, j] <= real_radii).any() for j in range(len(fake))]),
        'recall': np.mean([(apart[i] <= fake_radii).any() for i in range(len(real))]),
        'density': inside.sum() / (density_k * len(fake)),
        'coverage': inside.any(axis=1).mean(),
    }


@pytest.mark.parametrize('sizes', [(120, 120), (70, 130), (130, 70)])
@pytest.mark.parametrize('k, density_k', [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize('tile', [(1024, 4096), (16, 48), (50, 7)])
def test_agrees_with_the_definitions_whatever_the_tiles(monkeypatch, sizes, k, density_k, tile):
    monkeypatch.setattr(neighbours, 'ROWS', tile[0])
    monkeypatch.setattr(neighbours, 'COLUMNS', tile[1])
    real, fake = gaussian(0, sizes[0]), gaussian(1, sizes[1], shift=0.7) * 0.8
    scores = neighbour_scores(real, fake, k, density_k)
    assert scores == pytest.approx(by_definition(real, fake, k, density_k), abs=1e-12)
    assert all(isinstance(score, float) for score in scores.values())


def test_a_large_mean_and_float32_change_nothing():
    real, fake = (features.astype(np.float32) for features in (gaussian(0, 200), gaussian(1, 200, shift=0.5)))
    shift = np.float32(1024)
    real, fake = real + shift - shift, fake + shift - shift
    assert (
        neighbour_scores(real + shift, fake + shift)
        == neighbour_scores(real, fake)
        == pytest.approx(by_definition(real, fake, 3, 5))
    )


def test_equal_sets():
    real = gaussian(0, 300)
    assert neighbour_scores(real, real.copy()) == {'precision': 1, 'recall': 1, 'density': 1, 'coverage': 1}


def test_sets_far_apart():
    assert neighbour_scores(gaussian(0, 100), gaussian(1, 100, shift=50)) == {
        'precision': 0,
        'recall': 0,
        'density': 0,
        'coverage': 0,
    }


def test_a_line_of_points():
    """x = 0, 1, 2, 3 and y = 1.2, 1.4, 9, 10; the nearest neighbour of each x is 1 away, that of y 0.2, 0.2,
    1 and 1.

    Of the y two are within 1 of an x, each of two x (0 and 3 are 1.2 and 1.6 or more away), so that 1 and 2
    are covered; only x = 1 is within 0.2 of a y.
    """
    real, fake = np.array([[0.0], [1], [2], [3]]), np.array([[1.2], [1.4], [9], [10]])
    scores = neighbour_scores(real, fake, k=1, density_k=1)
    assert scores == pytest.approx({'precision': 2 / 4, 'recall': 1 / 4, 'density': 4 / 4, 'coverage': 2 / 4})


def test_the_edge_counts_for_precision_and_recall_alone():
    """x = 0, 1, 2, 3 and y = 4, 5, 6, 7: y = 4 is as far from x = 3 as the nearest neighbours of both are."""
    real, fake = np.arange(4.0)[:, None], np.arange(4.0, 8.0)[:, None]
    scores = neighbour_scores(real, fake, k=1, density_k=1)
    assert scores == {'precision': 1 / 4, 'recall': 1 / 4, 'density': 0, 'coverage': 0}


def test_a_dropped_mode_costs_recall_and_coverage_and_no_precision():
    real = np.concatenate([gaussian(0, 200), gaussian(1, 200, shift=20)])
    scores = neighbour_scores(real, gaussian(2, 400))
    both = neighbour_scores(real, np.concatenate([gaussian(3, 200), gaussian(4, 200, shift=20)]))
    assert scores['recall'] < 0.51 < 0.9 < both['recall']
    assert scores['coverage'] < 0.51 < 0.9 < both['coverage']
    assert scores['precision'] == pytest.approx(both['precision'], abs=0.05) and scores['precision'] > 0.9


def test_an_invented_mode_costs_precision_and_density_and_no_recall():
    real, fake = gaussian(0, 400), np.concatenate([gaussian(1, 200), gaussian(2, 200, shift=20)])
    scores = neighbour_scores(real, fake)
    assert scores['precision'] < 0.51 and scores['density'] < 0.6 and scores['recall'] > 0.85


def test_one_real_outlier_deceives_precision_and_not_density():
    """Naeem et al., figure 1: samples around an outlier of the real images lie within its wide sphere."""
    real = np.concatenate([gaussian(0, 200), np.full([1, 4], 10.0)])
    scores = neighbour_scores(real, gaussian(1, 200, shift=9.5))
    assert scores['precision'] > 0.9 and scores['density'] < 0.3 and scores['coverage'] < 0.05


def test_copies_within_a_set_are_neighbours_of_one_another():
    """With each point four times, the third neighbour of each is a copy, at distance 0: of two such sets none
    meets the other."""
    real, fake = (
        np.repeat(np.arange(5.0)[:, None] * 4, 4, axis=0),
        np.repeat(np.arange(5.0)[:, None] * 4 + 1, 4, axis=0),
    )
    scores = neighbour_scores(real, fake)
    assert (scores['precision'], scores['recall']) == (0, 0)


@pytest.mark.parametrize('shape', [(20, 3), (5, 4), (20,), (20, 2, 2)])
def test_wrong_shapes(shape):
    with pytest.raises(UserError, match='must be'):
        neighbour_scores(gaussian(0, 20), np.ones(shape))


def test_nan():
    with pytest.raises(UserError, match='real images must be finite'):
        neighbour_scores(gaussian(0, 20) * np.inf, gaussian(0, 20))
