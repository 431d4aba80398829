"""Estimates log Z of a model of points of the plane from noisy points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from drl_tf.config import combinations
from drl_tf.core import noise
from drl_tf.data import plane
from drl_tf.experiments import direct_likelihood
from drl_tf.experiments.heights import Heights

if TYPE_CHECKING:
    from drl_tf.core.energy_model import EnergyModel
    from drl_tf.core.weights import Weights
    from drl_tf.runs.heights import Heights as KnownHeights

_BATCH = 2**31 - 2  # Number of a batch that no training reaches.
_NUM_POINTS = 4000
_AT_ONCE = 65_536  # Points that go through the network together.


def of_points(model: EnergyModel, weights: Weights) -> KnownHeights | None:
    """Returns log Z of each noise level, and what `EnergyModel.typicality` needs.

    Returns None for models without densities between the levels of sampling.

    Args:
      model: a model of points of the plane.
      weights: 'ema' (averages) or 'raw'.
    """
    config = model.config
    if combinations.likelihood_method(config) != 'direct':
        return None
    seed = config.training.seed
    points = plane.points(config.data.dataset, seed, _BATCH, _NUM_POINTS)
    folded = noise.fold(noise.root(seed, noise.LIKELIHOOD), noise.LEVEL)
    found = Heights(model, weights, folded, _AT_ONCE).measure(points)
    level = model.scoring_level
    angle = tf.fill([len(points)], np.float32(model.schedule.angle[level]))
    log_density = tf.function(model.log_prob_at(angle, weights), autograph=False)
    F = log_density(np.float32(model.schedule.A[level]) * points).numpy().astype(float)
    return direct_likelihood.summary(F - found['bennett'].log_z[level], found)
