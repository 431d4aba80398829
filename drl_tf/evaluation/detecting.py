"""Measures how well the scores of a model detect out-of-distribution images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from drl_tf.base import arguments
from drl_tf.evaluation.detectors import detectors
from drl_tf.runs.heights import Heights
from drl_tf.runs.scoring import Scoring


class Detecting(Scoring):
    """Base class of `drl_tf.EnergyModel` with `ood`, which tests detection of out-of-distribution images."""

    def ood(self, images: ArrayLike, others: ArrayLike, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Measures how well scores of this model tell real images from out-of-distribution images.

        Each image gets five scores, which are higher for images that look real to the model:

        - 'lowest_level': the log density of the image at the lowest noise level.
        - 'scoring_level': its log density at the noise level `scoring_level`, an attribute of the model.
        - 'sum_of_levels': the sum of its log densities at all noise levels.
        - 'gradient': minus the norm of the energy's gradient in the pixels, over all noise levels together.
        - 'typicality': minus the distance of its energy at `scoring_level` from the mean energy of training
          images. This score is missing if --mode=likelihood --method=direct has not measured this mean; the
          model's attribute `heights` is then None.

        Log densities lack the constant log Z, which does not change how they rank images.

        Args:
          images: n real images that the model was not trained on, uint8 or floats in [-1, 1], [n, H, W, C].
          others: m out-of-distribution images, uint8 or floats in [-1, 1], [m, H, W, C].
          seed: seed of the bootstrap intervals, 0 to 2^31 - 1.

        Returns:
          {name of a score: figures}. The figures are a dict with these entries:

          - 'auroc', 'aupr' and 'fpr95': area under the ROC curve, area under the precision-recall curve, and
            false positive rate at 95 % true positives, each from 0 to 1; real images are the positives.
          - 'auroc_interval', 'aupr_interval' and 'fpr95_interval': their 95 % intervals, [low, high].
          - 'num_real' and 'num_other': n and m.

        Raises:
          UserError: an argument has a wrong shape or is out of range.

        Examples:
          >>> model = drl_tf.EnergyModel.from_preset('digits')
          >>> found = model.ood(model.generate(20), np.full([20, 16, 16, 1], 255, np.uint8))
          >>> found['gradient']['auroc']
          1.0
        """
        # Imported late, because scikit-learn takes seconds.
        from drl_tf.evaluation.metrics.detection import detection

        seed = arguments.number('seed', seed, 0)
        typical = None
        if self.heights is not None:
            heights = Heights.known(self.heights)
            level = np.array([self.model.scoring_level])
            typical = (
                heights.constants(self.model.schedule, self.image_shape, level)[0] - heights.typical_mean
            )
        real, other = (detectors(self.anomaly_scores(mine), typical) for mine in (images, others))
        return {name: detection(real[name], other[name], seed) for name in real}
