"""Scores sets of images with a trained model, for --mode=score and --mode=ood."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.base.errors import UserError
from drl_tf.core.weights import Weights
from drl_tf.runs import checkpoint, pictures
from drl_tf.runs.scores import Scores
from drl_tf.runs.scoring import Scoring
from drl_tf.serving import provenance

if TYPE_CHECKING:
    from drl_tf.config.config import Config

TYPICAL_IMAGES = 1000  # Largest number of training images whose log densities define what is typical.


def load(config: Config, workdir: str, weights: Weights, step: int | None) -> tuple[Scoring, int]:
    """Loads a model to score images with.

    Args:
      config: the configuration.
      workdir: directory of the run, or of an exported model.
      weights: 'ema' (averages) or 'raw'.
      step: training step of the checkpoint; None: the newest.

    Returns:
      A pair: the model as a `Scoring`, to pass to the function `scored`; and the training step of its
      checkpoint.

    Raises:
      UserError: there is no undamaged checkpoint.
    """
    model, step = checkpoint.load_model(workdir, config.replace(precision='float32'), step)
    known = provenance.history(workdir, step, weights, model)
    return Scoring(model, known['heights'], weights), step


def scored(scoring: Scoring, images: np.ndarray, what: str) -> Scores:
    """Scores images in batches, with a progress bar.

    Args:
      scoring: the model, which the function `load` returns.
      images: uint8 [n, H, W, C].
      what: label of the progress bar.

    Returns:
      The `Scores` of the n images. To save memory, its attribute `maps` has only one map of unlikely pixels
      per image, merged over the noise levels, float32 [n, 1, H, W].

    Raises:
      UserError: an energy or a gradient is not finite.
    """
    size = scoring.config.sampling.sample_batch_size
    batches = (images[first : first + size] for first in range(0, len(images), size))
    parts = []
    for batch in pictures.progress(batches, len(images), what):
        found = scoring.anomaly_scores(batch)
        parts.append(dataclasses.replace(found, maps=found.total_map[:, None]))
    scores = Scores.joined(parts)
    if not (np.isfinite(scores.energy).all() and np.isfinite(scores.gradient).all()):
        raise UserError(f'the energy of an image of {what} is not finite: use another checkpoint')
    return scores
