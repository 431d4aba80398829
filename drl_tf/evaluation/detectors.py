"""Scores of images by a model that can tell real images from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from drl_tf.runs.scores import Scores


def detectors(scores: Scores, typical: float | None) -> dict[str, np.ndarray]:
    """Computes numbers that are higher for images that are more like training images.

    Constants such as log Z are left out: they change no rank.

    Args:
      scores: scores of n images.
      typical: mean energy of training images at the scoring level; None if it is not known.

    Returns:
      {name: float64 [n]}: the log density F of the lowest level ('lowest_level') and of the scoring level
      ('scoring_level'), the sum over the levels ('sum_of_levels'), and minus the norm of the gradients of all
      levels ('gradient', Grathwohl et al. 2020); if `typical` is known also 'typicality', minus
      |log p - E log p| at the scoring level (Nalisnick et al. 2019).

    Examples:
      >>> model = drl_tf.EnergyModel.from_preset('digits')
      >>> sorted(detectors(model.anomaly_scores(np.zeros([2, 16, 16, 1])), typical=-373.0))
      ['gradient', 'lowest_level', 'scoring_level', 'sum_of_levels', 'typicality']
    """
    found = {
        'lowest_level': -scores.energy[:, 0].astype(np.float64),
        'scoring_level': -scores.scoring_energy,
        'sum_of_levels': -scores.energy.sum(axis=1, dtype=np.float64),
    }
    if typical is not None:
        found['typicality'] = -np.abs(scores.scoring_energy - typical)
    return {**found, 'gradient': -scores.total_gradient.astype(np.float64)}
