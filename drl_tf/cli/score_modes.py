"""Runs the modes score and ood."""

from drl_tf.cli.command_options import Command, weights_of
from drl_tf.config.config import Config


def score(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs --mode=score: ranks images by their energy.

    It writes a table, a histogram, a contact sheet and maps of unlikely pixels.

    Args:
      command: the options --input (the images), --resize, --output_dir, --save_images and --weights.
      config: the configuration of the run.
      workdir: the directory of the run.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}.
    """
    from drl_tf.experiments import score

    plan = score.Plan(command.input, command.output_dir, command.save_images, command.resize)
    return score.score(config, workdir, plan, weights_of(command), step)


def ood(command: Command, config: Config, workdir: str, step: int | None) -> dict[str, str]:
    """Runs --mode=ood: measures how well scores detect out-of-distribution images.

    Args:
      command: the options --ood (the sets of such images), --resize, --background, --output_dir, --weights.
      config: the configuration of the run.
      workdir: the directory of the run.
      step: training step of the checkpoint; None: the newest.

    Returns:
      Lines to print, {label: text}.
    """
    from drl_tf.experiments import ood

    plan = ood.Plan(command.ood, command.background, command.output_dir, command.resize)
    return ood.ood(config, workdir, plan, weights_of(command), step)
