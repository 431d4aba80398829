"""Measures how well a score tells real images from others: AUROC, AUPR, and FPR at 95 % TPR.

Real images are the positive class, and should score higher. AUPR and FPR at 95 % TPR are scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats
from sklearn import metrics

from drl_tf.base.errors import UserError
from drl_tf.core import noise

NAMES = ('auroc', 'aupr', 'fpr95')
RESAMPLES = 200
_RECALL = 0.95
_INTERVAL = (0.025, 0.975)


def auroc(real: np.ndarray, other: np.ndarray) -> float:
    """Computes AUROC, the area under the ROC curve, of scores that should be higher for real images.

    It is the probability that a random real image scores higher than a random other image; a tie counts half.

    Args:
      real: scores of n real images, float [n].
      other: scores of m other images, float [m].

    Examples:
      >>> auroc(np.array([1.0, 2.0]), np.array([0.0, 2.0]))
      0.625
    """
    return float(stats.mannwhitneyu(real, other).statistic / (len(real) * len(other)))


def figures(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Computes three figures of how well a score tells real images from other images.

    Args:
      real: scores of n real images, float [n]; real images should score higher.
      other: scores of m other images, float [m].

    Returns:
      A dict with these entries, each from 0 to 1; real images are the positives.

      - 'auroc': the area under the ROC curve.
      - 'aupr': the area under the precision-recall curve, as average precision; it depends on n / m.
      - 'fpr95': the false positive rate at 95 % true positives: the share of other images above the threshold
        that 95 % of the real images exceed.

    Raises:
      UserError: a set is empty, or a score is not finite.

    Examples:
      >>> figures(np.array([1.0, 2.0]), np.array([0.0, 1.5]))
      {'auroc': 0.75, 'aupr': 0.8333333333333333, 'fpr95': 0.5}
    """
    real, other = (_checked(name, values) for name, values in (('real', real), ('other', other)))
    is_real = np.repeat([1, 0], [len(real), len(other)])
    scores = np.concatenate([real, other])
    fpr, tpr, _ = metrics.roc_curve(is_real, scores, drop_intermediate=False)
    return {
        'auroc': auroc(real, other),
        'aupr': float(metrics.average_precision_score(is_real, scores)),
        'fpr95': float(fpr[np.argmax(tpr >= _RECALL)]),
    }


def detection(real: np.ndarray, other: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Computes three figures of how well a score tells real images from other images, with intervals.

    Args:
      real: scores of n real images, float [n]; real images should score higher.
      other: scores of m other images, float [m].
      seed: seed of the 200 bootstrap resamples, 0 to 2^31 - 1.

    Returns:
      A dict with these entries:

      - 'auroc', 'aupr' and 'fpr95': area under the ROC curve, area under the precision-recall curve, and
        false positive rate at 95 % true positives, each from 0 to 1.
      - 'auroc_interval', 'aupr_interval' and 'fpr95_interval': their 95 % intervals, [low, high]: bootstrap
        percentiles (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3).
      - 'num_real' and 'num_other': n and m.

    Raises:
      UserError: a set is empty, or a score is not finite.

    Examples:
      >>> found = detection(np.arange(5.0, 105), np.arange(100.0))
      >>> round(found['auroc'], 3), found['num_real'], np.round(found['auroc_interval'], 1).tolist()
      (0.549, 100, [0.5, 0.6])
    """
    found: dict[str, Any] = dict(figures(real, other))
    rows = [_resampled(seed, side, len(values)) for side, values in enumerate((real, other))]
    drawn = [figures(real[mine], other[its]) for mine, its in zip(*rows, strict=True)]
    for name in NAMES:
        found[f'{name}_interval'] = np.quantile([one[name] for one in drawn], _INTERVAL).tolist()
    return {**found, 'num_real': len(real), 'num_other': len(other)}


def _resampled(seed: int, side: int, count: int) -> np.ndarray:
    """Draws 200 resamples of `count` images with replacement; returns row indices, int32 [200, count]."""
    folded = noise.fold(noise.root(seed, noise.SCORING), noise.BOOTSTRAP, side)
    return tf.random.stateless_uniform([RESAMPLES, count], folded, 0, count, tf.int32).numpy()


def _checked(name: str, values: np.ndarray) -> np.ndarray:
    """Returns scores as float64 [n]; raises UserError if there are none, or one is not finite."""
    values = np.asarray(values, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise UserError(
            f'scores of {name} images must be finite, and there must be at least one: check the images'
        )
    return values
