"""Checks options of the modes score and ood, without TensorFlow."""

from drl_tf.cli.command_options import Command
from drl_tf.config import combinations
from drl_tf.config.config import Config
from drl_tf.editing import inputs
from drl_tf.experiments import set_names


def check_configuration(command: Command, config: Config) -> None:
    """Checks that the modes `score` and `ood` can work with a model; does nothing for other modes.

    Args:
      command: the options that say what to do: the modes, and the images to score.
      config: the configuration of the model.

    Raises:
      UserError: the model cannot score images; or the images or the background model, which `ood` compares
        with the model, are missing or do not fit.
    """
    for mode in ('score', 'ood'):
        if mode in command.mode:
            combinations.check_energies(config, mode)
    if 'score' in command.mode:
        inputs.check(command.input, command.resize)
    if 'ood' in command.mode:
        set_names.check(command.ood, config)
        if command.background:
            set_names.background_of(command.background, config)
