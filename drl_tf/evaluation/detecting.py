"""Measures how well the scores of a model detect images that are out of distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from drl_tf.base import arguments
from drl_tf.evaluation.detectors import detectors
from drl_tf.runs.heights import Heights
from drl_tf.runs.scoring import Scoring


class Detecting(Scoring):
    """The part of `drl_tf.EnergyModel` that detects images which are out of distribution."""

    def ood(self, images: ArrayLike, others: ArrayLike, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Measures how well scores of this model tell real images from images out of distribution.

        Args:
          images: real images that the model was not trained on, see `energy`.
          others: images out of distribution, of the same shape.
          seed: 0 to 2^31 - 1, for the bootstrap intervals.

        Returns:
          {score: figures}. `evaluation.detectors` describes the scores; 'typicality' is among them only if
          the heights (log Z) are known. The figures are 'auroc', 'aupr' and 'fpr95', their 95 % intervals
          ('auroc_interval': [low, high] and so on), and the numbers of images, 'num_real' and 'num_other'.

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
