"""The model of a configuration."""

from drl_tf.core.cooperative import CooperativeRecoveryLikelihood
from drl_tf.core.model import RecoveryLikelihood
from drl_tf.core.score_matching import ScoreMatching


def build_model(config, attempt=0):
    """The model that a configuration describes, untrained.

    Args:
      config: as for `EnergyModel`.
      attempt: as for `RecoveryLikelihood`.

    Returns:
      A `RecoveryLikelihood`: cooperative where it has an initializer, a `ScoreMatching` where its energies
      are preconditioned.
    """
    if config.diffusion.initializer:
        return CooperativeRecoveryLikelihood(config, attempt)
    if config.network.energy == 'preconditioned':
        return ScoreMatching(config, attempt)
    return RecoveryLikelihood(config, attempt)
