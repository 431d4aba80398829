"""Turns the energies and gradients of a model into scores that tell real images from others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from drl_tf.runs.scores import Scores


def detectors(scores: Scores, typical: float | None) -> dict[str, np.ndarray]:
    """Computes several scores of n images; a higher score means more like the training images.

    The scores leave out constants such as log Z, because these do not change the order of the images.

    Args:
      scores: energies and gradients of the images, a result of `EnergyModel.anomaly_scores`.
      typical: mean energy of training images at the scoring level; None if it is not known.

    Returns:
      {name: float64 [n]} with the following names. 'lowest_level', 'scoring_level': log density F at that
      level. 'sum_of_levels': sum of F over the levels. 'gradient': minus the norm of the gradients of all
      levels (Grathwohl et al. 2020). 'typicality', if `typical` is known: minus the distance of F at the
      scoring level from its mean over training images (Nalisnick et al. 2019).

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
