"""Builds the model of a configuration."""

from typing import Any

from drl_tf.core.cooperative import CooperativeRecoveryLikelihood
from drl_tf.core.normalised_recovery import NormalisedRecoveryLikelihood
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.core.saving import register
from drl_tf.core.score_matching import ScoreMatching

register(RecoveryLikelihood, CooperativeRecoveryLikelihood, ScoreMatching, NormalisedRecoveryLikelihood)


def build_model(config: Any, attempt: int = 0) -> RecoveryLikelihood:
    """Builds the untrained model of a configuration.

    Args:
      config: a `config.Config`.
      attempt: how often training went back to an earlier checkpoint; each time gives other noise.

    Returns:
      A Keras model. Its class depends on the options of `config`:

      - initializer: `CooperativeRecoveryLikelihood`.
      - energy='preconditioned': `NormalisedRecoveryLikelihood` if the loss is contrastive, at least in part;
        else `ScoreMatching`.
      - all others: `RecoveryLikelihood`.

    Example:
      model = build_model(config)
      images = model.sample(16, seed=[0, 1])[-1]
    """
    if config.diffusion.initializer:
        return CooperativeRecoveryLikelihood(config, attempt)
    if config.network.energy == 'preconditioned':
        contrasts = config.training.contrastive or config.training.objective == 'contrastive'
        return (NormalisedRecoveryLikelihood if contrasts else ScoreMatching)(config, attempt)
    return RecoveryLikelihood(config, attempt)
