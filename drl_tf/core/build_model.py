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
      attempt: number of rollbacks so far; see `RecoveryLikelihood`.

    Returns:
      With --initializer, a `CooperativeRecoveryLikelihood`. With --energy=preconditioned, a
      `NormalisedRecoveryLikelihood` if training runs chains, else a `ScoreMatching`. Without either option, a
      `RecoveryLikelihood`.

    Example:
      model = build_model(config)
      states = model.sample(16, [0, 1])
    """
    if config.diffusion.initializer:
        return CooperativeRecoveryLikelihood(config, attempt)
    if config.network.energy == 'preconditioned':
        contrasts = config.training.contrastive or config.training.objective == 'contrastive'
        return (NormalisedRecoveryLikelihood if contrasts else ScoreMatching)(config, attempt)
    return RecoveryLikelihood(config, attempt)
