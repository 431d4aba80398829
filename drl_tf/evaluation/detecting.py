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
    """The part of `drl_tf.EnergyModel` that detects out-of-distribution images."""

    def ood(self, images: ArrayLike, others: ArrayLike, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Measures how well scores of this model tell real images from out-of-distribution images.

        Args:
          images: real images that the model was not trained on, uint8 or floats in [-1, 1], [n, H, W, C].
          others: out-of-distribution images, [m, H, W, C].
          seed: seed of the bootstrap intervals, 0 to 2^31 - 1.

        Returns:
          {name of a score: figures}, for 'lowest_level', 'scoring_level', 'sum_of_levels', 'gradient' and, if
          `heights` is not None, 'typicality'; see `evaluation.detectors`. The figures are 'auroc', 'aupr'
          (area under the precision-recall curve) and 'fpr95' (false positive rate at 95 % true positives);
          their 95 % intervals, such as 'auroc_interval': [low, high]; and the numbers of images, 'num_real'
          and 'num_other'.

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
