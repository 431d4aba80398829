"""Shows the configuration and the cost of a run before it starts (--dry_run)."""

import dataclasses
import json
import textwrap

from drl_tf.base.errors import UserError
from drl_tf.config import combinations, objectives
from drl_tf.config import config as configuration
from drl_tf.config.config import Config
from drl_tf.config.option_fields import text, title
from drl_tf.core.build_model import build_model
from drl_tf.core.recovery_likelihood import RecoveryLikelihood
from drl_tf.distributed import cluster, devices
from drl_tf.planning import memory
from drl_tf.planning.flops import cost

_TPU_MEMORY = 16 * 2**30


def show(config: Config, asked: cluster.Devices, count: int, as_json: bool = False) -> None:
    """Prints a configuration, and the operations and memory that a training step takes on each device.

    Args:
      config: the configuration of the run.
      asked: the options that choose the devices.
      count: number of devices. 0: those that `asked` selects on this machine, times the number of machines
        that the environment variable TF_CONFIG names.
      as_json: whether to print JSON, {'configuration': .., 'precision': .., 'cost': {label: number}}, instead
        of text.

    Raises:
      UserError: the model has --energy=exact and so is not trained, the devices cannot share the batch
        evenly, or `count` is 0 for a TPU.
    """
    if config.network.energy == 'exact':
        raise UserError('--energy=exact is not trained: there is no step that --dry_run could count')
    wanted = cluster.chosen(asked)
    count = _devices(config, asked, wanted, count)
    precision = devices.resolve_precision(config.training.precision, wanted == 'tpu')
    if objectives.compares_densities(config):
        precision = 'float32'
    costs = _costs(build_model(config.replace(precision=precision)), count)
    if as_json:
        found = {'configuration': dataclasses.asdict(config), 'precision': precision, 'cost': costs}
        print(json.dumps(found, indent=2))
        return
    print(f'{_readable(config)}\n\nprecision: {precision}')
    for label, number in costs.items():
        print(f'{label}: {number:,}')
    if wanted == 'tpu':
        part = costs[memory.SUM] / _TPU_MEMORY
        remedy = '' if part < 1 else ', too much: use more --microbatches, --remat or more devices'
        print(f'of the 16 GiB of a TPU v5e: {part:.0%}{remedy}')


def _devices(config: Config, asked: cluster.Devices, wanted: str, count: int) -> int:
    """Returns how many devices share a step; raises UserError if they cannot share it evenly."""
    if wanted == 'tpu' and not count:
        raise UserError(
            f'--dry_run does not connect to --tpu={asked.tpu}: give its number of cores, --dry_run_devices=N'
        )
    if wanted == 'one' and count > 1:
        raise UserError(f'--dry_run_devices={count} does not go with --strategy=one: drop one of them')
    count = count or devices.count(wanted)
    combinations.check_batch_size(config, count)
    combinations.check_replicas(config, count)
    return count


def _costs(model: RecoveryLikelihood, count: int) -> dict[str, int]:
    """Returns the cost of a training step for each of `count` devices, {label: number}."""
    step = cost(model)
    share = {
        'devices': count,
        'FLOPs of a training step, per device': step['FLOPs of a training step'] // count,
    }
    return {**step, **share, **memory.needed(model, count)}


def _readable(config: Config) -> str:
    """Formats a configuration by group, each option as on the command line."""
    lines = []
    for group in configuration.groups():
        values = vars(getattr(config, group.name))
        words = ' '.join(f'{name}={text(value)}' for name, value in values.items())
        lines += [title(group.type), *textwrap.wrap(words, 100, initial_indent='  ', subsequent_indent='  ')]
    return '\n'.join(lines)
