"""Takes over the rollbacks of earlier processes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drl_tf.config import config as configuration
from drl_tf.distributed import chief

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.runs.run_directory import Run


def former(config: Config, workdir: str, run: Run) -> list[int]:
    """Returns the steps at which earlier processes of a run diverged; says how they lower the rates.

    A run that diverged before its first checkpoint leaves such steps, too. A run with other options that
    begins in its workdir does not take them over.

    Args:
      config: the configuration of the run.
      workdir: the run's directory.
      run: reads and writes the files of the workdir.
    """
    rollbacks = run.rollbacks()
    if not rollbacks:
        return []
    if not run.steps() and _is_of_another(config, workdir):
        run.forget_rollbacks()
        return []
    count = len(rollbacks)
    scale = config.training.rollback_factor**count
    print(f'learning rates times {scale:g}: {count} rollback{"s" if count > 1 else ""}')
    return rollbacks


@chief.only
def _is_of_another(config: Config, workdir: str) -> bool:
    """Returns whether a workdir without checkpoints holds the configuration of another run, or none."""
    if not configuration.exists(workdir):
        return True
    fixed = ('never', 'sampling')
    stored = configuration.load(workdir)
    return bool(config.differences(stored, lambda field: field.metadata['changes'] in fixed))
