"""Checks of the options of sampling that a mode reads or not, by the model and the method."""

from collections.abc import Mapping
from typing import Any

from drl_tf.base.errors import UserError
from drl_tf.cli.command_options import Command
from drl_tf.cli.options_by_mode import READ_BY
from drl_tf.config import combinations
from drl_tf.config.config import Config
from drl_tf.editing import expressions, plans

_ANNEALING = ('ais_steps', 'num_chains', 'hmc_leapfrog')
_SAMPLER = (
    'mcmc_steps',
    'step_scale',
    'sampling_steps',
    'langevin_rule',
    'corrector',
    'corrector_step',
    'noise_scale',
    'proposal',
    'final_denoise',
)


def check_command(command: Command) -> None:
    """Raises UserError if a command has --sampler=tuned and a mode in which it has no effect."""
    readers = READ_BY['sampler']
    others = [mode for mode in command.mode if mode not in readers]
    if command.sampler != 'run' and others:
        raise UserError(
            f'--sampler={command.sampler} is for --mode={",".join(readers)}: run {",".join(others)} in a '
            'command of its own'
        )


def check_given(command: Command, config: Config, given: Mapping[str, Any]) -> None:
    """Raises UserError if a given option of the sampler or of annealing has no effect in any of the modes.

    Args:
      command: the modes to run and their options, which `checks.check_command` has checked.
      config: the configuration of the run.
      given: {name: value} of the options on the command line. Those that are stored with a run are not
        refused.
    """
    for name in (*_SAMPLER, 'sampling_levels', *_ANNEALING):
        if name not in given:
            continue
        reasons = [_unread(name, mode, command, config) for mode in command.mode if mode in READ_BY[name]]
        if reasons and all(reasons):
            value = given[name]
            value = ','.join(value) if isinstance(value, list) else value
            raise UserError(f'--{name}={value} {reasons[0]}')


def _unread(name: str, mode: str, command: Command, config: Config) -> str:
    """Returns why a mode that reads an option with other models or methods does not; '' if it does."""
    if mode in ('inpaint', 'restore') and plans.method_of(config, command.method) == 'posterior':
        if name != 'sampling_levels':
            return f'is not for --mode={mode} with --method=posterior, which has --edit_steps: drop it'
        if command.edit_levels or config.training.levels == 'continuous':
            return f'is not for --mode={mode} with --method=posterior: give --edit_levels instead'
    if name == 'sampling_levels':
        return ''
    if mode == 'likelihood' and (command.method or combinations.likelihood_method(config)) == 'direct':
        return 'is for annealing: give --method=ais too, or drop it'
    if mode == 'compose' and command.expression:
        mixes = expressions.weights(expressions.parse(command.expression)) is None
        return f'is not for mixtures (--expression={command.expression}): drop it' if mixes else ''
    return ''
