"""Runs the modes that score images."""

from drl_tf.cli.command_options import Command
from drl_tf.config.config import Config
from drl_tf.distributed import workers


def score(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `score`; returns {label: text} to print."""
    from drl_tf.experiments import score

    plan = score.Plan(command.input, command.output_dir, command.save_images)
    return workers.by_chief(lambda: score.score(config, workdir, plan, command.weights, step))


def ood(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs `ood`; returns {label: text} to print."""
    from drl_tf.experiments import ood

    plan = ood.Plan(command.ood, command.background, command.output_dir)
    return workers.by_chief(lambda: ood.ood(config, workdir, plan, command.weights, step))
