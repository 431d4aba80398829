"""Scores for out-of-distribution detection, from the energies and gradients of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from drl_tf.runs.scores import Scores


def detectors(scores: Scores, typical: float | None) -> dict[str, np.ndarray]:
    """Computes several scores of n images; a high score means that an image is like the training images.

    Scores only rank images. They leave out constants such as log Z, which are the same for all images.

    Args:
      scores: energies and gradients of the images at several noise levels, from `EnergyModel.anomaly_scores`.
      typical: mean energy of training images at the scoring level (`scores.scoring_level`); None: unknown.

    Returns:
      A dict with these scores, float64 [n] each:

      - 'lowest_level', 'scoring_level': the log density (minus the energy) at the lowest noise level and at
        the scoring level.
      - 'sum_of_levels': the sum of the log densities at all levels.
      - 'gradient': minus the norm of the energy's gradient in the pixels, over all levels together
        (Grathwohl et al. 2020).
      - 'typicality': minus the distance of the energy at the scoring level from `typical` (Nalisnick et al.
        2019); missing if `typical` is None.

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
