"""Builds the model of a configuration."""

from typing import Any

from drl_tf.core import batch_parts
from drl_tf.core.cooperative import CooperativeRecoveryLikelihood
from drl_tf.core.normalised_recovery import NormalisedRecoveryLikelihood
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.saving import register
from drl_tf.core.score_matching import ScoreMatching

register(RecoveryLikelihood, CooperativeRecoveryLikelihood, ScoreMatching, NormalisedRecoveryLikelihood)


def build_model(config: Any, attempt: int = 0) -> RecoveryLikelihood:
    """Builds the untrained model of a configuration.

    Args:
      config: the configuration of the model, a `config.Config`.
      attempt: how often training went back to an earlier checkpoint. Each attempt draws other noise.

    Returns:
      A Keras model with random weights. Its class depends on the options of `config`:

      - initializer=True: `CooperativeRecoveryLikelihood`.
      - energy='preconditioned', with objective='contrastive' or contrastive > 0:
        `NormalisedRecoveryLikelihood`.
      - energy='preconditioned' with other values of `objective` and `contrastive`: `ScoreMatching`.
      - all others: `RecoveryLikelihood`.

    Raises:
      ValueError: norm='batch', although TensorFlow is set up to compute parts of a batch separately (one
        thread for each operation, and several operations at the same time).

    Example:
      model = build_model(config)
      images = model.sample(16, seed=[0, 1])[-1]
    """
    if config.network.norm == 'batch' and batch_parts.num_parts(2) > 1:
        raise ValueError(
            "norm='batch' ties the images of a batch together: give operations more than one thread "
            '(tf.config.threading)'
        )
    if config.diffusion.initializer:
        return CooperativeRecoveryLikelihood(config, attempt)
    if config.network.energy == 'preconditioned':
        contrasts = config.training.contrastive or config.training.objective == 'contrastive'
        return (NormalisedRecoveryLikelihood if contrasts else ScoreMatching)(config, attempt)
    return RecoveryLikelihood(config, attempt)
