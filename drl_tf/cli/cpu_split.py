"""Decides whether each core of a CPU computes its own part of every batch."""

import os

from drl_tf.base.errors import UserError
from drl_tf.cli.command_options import Command
from drl_tf.config.config import Config
from drl_tf.distributed.cluster import Devices

# Modes whose steps and chains split their batches, and modes that may run after them in the same command.
_SPLITTING = {'train', 'sample', 'sweep_steps', 'sweep_chains', 'sweep_guidance', 'tune_sampler', 'ablate'}
_BRIEF = {'evaluate', 'export', 'report'}
_LARGEST_CPU = 4


def splits(command: Command, config: Config, devices: Devices) -> bool:
    """Returns whether each core computes its own part of a batch, as --cpu_split says.

    With --cpu_split=auto, the answer is yes on 2 to 4 cores, if the model is of images and has no batch
    normalisation, and if the command trains or samples. Such a command has at least one of the modes train,
    sample, sweep_steps, sweep_chains, sweep_guidance, tune_sampler and ablate, and otherwise only evaluate,
    export and report.

    Args:
      command: the options that say what to do.
      config: the configuration of the run.
      devices: the options that choose the devices.

    Raises:
      UserError: --cpu_split=yes does not go with batch normalisation.
    """
    if devices.cpu_split == 'yes' and config.network.norm == 'batch':
        raise UserError(
            '--norm=batch ties the images of a batch together: it does not go with --cpu_split=yes, drop one'
        )
    if devices.cpu_split != 'auto':
        return devices.cpu_split == 'yes'
    modes = set(command.mode)
    gains = bool(modes & _SPLITTING) and modes <= _SPLITTING | _BRIEF
    suits = config.network.norm != 'batch' and not config.planar
    return gains and suits and 2 <= len(os.sched_getaffinity(0)) <= _LARGEST_CPU
