"""Scores for out-of-distribution detection, from the energies and gradients of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from drl_tf.runs.scores import Scores


def detectors(scores: Scores, typical: float | None) -> dict[str, np.ndarray]:
    """Computes several scores of n images; a high score means an image like the training images.

    Only the order of images by a score has a meaning: constants such as log Z are left out.

    Args:
      scores: energies and gradients of the images, a result of `EnergyModel.anomaly_scores`.
      typical: mean energy of training images at the scoring level; None: unknown.

    Returns:
      {name: scores, float64 [n]}. 'lowest_level' and 'scoring_level' are the log density F at the lowest
      noise level and at the scoring level. 'sum_of_levels' is the sum of F over all levels. 'gradient' is
      minus the norm of the gradients of all levels (Grathwohl et al. 2020). 'typicality' is minus the
      distance of the energy at the scoring level from `typical` (Nalisnick et al. 2019).

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
