"""AUROC, AUPR and FPR at 95 % TPR against scikit-learn and closed forms, and bootstrap intervals."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from drl_tf.base.errors import UserError
from drl_tf.evaluation.metrics import detection


def normals(count, seed=0, shift=1.5):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, count), rng.normal(0, 1, count)


@pytest.mark.parametrize('ties', [False, True])
def test_figures_are_those_of_scikit_learn(ties):
    real, other = normals(400)
    other = other[:150]
    if ties:
        real, other = np.round(real), np.round(other)
    is_real = [1] * 400 + [0] * 150
    scores = np.concatenate([real, other])
    found = detection.figures(real, other)
    assert found['auroc'] == pytest.approx(roc_auc_score(is_real, scores))
    assert found['aupr'] == pytest.approx(average_precision_score(is_real, scores))
    fpr, tpr, _ = roc_curve(is_real, scores, drop_intermediate=False)
    assert found['fpr95'] == pytest.approx(fpr[tpr >= 0.95].min())


def test_ties_keep_the_point_of_95_percent():
    """Equal sets of 100 scores that tie one by one: at 95 % of the real images, 95 % of the others."""
    assert detection.figures(np.arange(100.0), np.arange(100.0))['fpr95'] == pytest.approx(0.95)


def test_figures_of_two_normal_scores():
    """AUROC is Phi(d / sqrt 2), and 1 - FPR at 95 % TPR is Phi(d - 1.645)."""
    found = detection.figures(*normals(100_000))
    assert found['auroc'] == pytest.approx(stats.norm.cdf(1.5 / np.sqrt(2)), abs=0.005)
    assert found['fpr95'] == pytest.approx(stats.norm.sf(1.5 - stats.norm.ppf(0.95)), abs=0.01)


def test_ends():
    """Perfect, reversed and useless scores."""
    low, high = np.arange(10.0), np.arange(10.0, 20)
    assert detection.figures(high, low) == pytest.approx({'auroc': 1.0, 'aupr': 1.0, 'fpr95': 0.0})
    backwards = detection.figures(low, high)
    assert backwards['auroc'] == 0 and backwards['fpr95'] == 1 and backwards['aupr'] < 0.4
    useless = {'auroc': 0.5, 'aupr': 0.5, 'fpr95': 1.0}
    assert detection.figures(low * 0, high * 0) == pytest.approx(useless)


def test_intervals_are_as_wide_as_the_spread_over_data_sets():
    deviation = np.std([detection.auroc(*normals(200, seed)) for seed in range(1000)])
    found = detection.detection(*normals(200), seed=3)
    low, high = found['auroc_interval']
    assert low < found['auroc'] < high
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.3)
    assert (found['num_real'], found['num_other']) == (200, 200)
    assert all(bounds[0] <= found[name] <= bounds[1] for name, bounds in
               ((name, found[f'{name}_interval']) for name in detection.NAMES))  # fmt: skip


def test_the_seed_decides_the_intervals(monkeypatch):
    monkeypatch.setattr(detection, 'RESAMPLES', 20)
    sets = normals(50)
    first = detection.detection(*sets, seed=1)
    assert detection.detection(*sets, seed=1) == first
    assert detection.detection(*sets, seed=2)['auroc_interval'] != first['auroc_interval']


@pytest.mark.parametrize('other', [[], [np.nan, 1.0], [np.inf]])
def test_scores_must_be_finite(other):
    with pytest.raises(UserError, match='scores of other images must be finite'):
        detection.figures(np.ones(3), np.array(other))
