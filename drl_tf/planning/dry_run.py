"""What a run would take, told before it is begun."""

import dataclasses
import json
import textwrap

from drl_tf.base.errors import UserError
from drl_tf.config import combinations
from drl_tf.config import config as configuration
from drl_tf.config.option_fields import text
from drl_tf.core.models import build_model
from drl_tf.distributed import cluster, devices
from drl_tf.planning import memory
from drl_tf.planning.flops import cost

_TPU_MEMORY = 16 * 2**30


def show(config, asked, count, as_json=False):
    """Prints a configuration, and what a training step costs each device in operations and memory.

    Args:
      config: a `Config`.
      asked: a `cluster.Devices`.
      count: how many devices; 0: those that `asked`, this machine and TF_CONFIG come to.
      as_json: whether it is one object {'configuration': .., 'precision': .., 'cost': {label: number}}.

    Raises:
      UserError: they cannot share the batch, or are those of a TPU, which is not asked how many it has.
    """
    wanted = cluster.chosen(asked)
    count = _devices(config, asked, wanted, count)
    precision = devices.resolve_precision(config.training.precision, wanted == 'tpu')
    found = _costs(build_model(config.replace(precision=precision)), count)
    if as_json:
        print(json.dumps(
            {'configuration': dataclasses.asdict(config), 'precision': precision, 'cost': found}, indent=2
        ))  # fmt: skip
        return
    print(f'{_readable(config)}\n\nprecision: {precision}')
    for label, number in found.items():
        print(f'{label}: {number:,}')
    if wanted == 'tpu':
        part = found[memory.SUM] / _TPU_MEMORY
        remedy = '' if part < 1 else ', too much; take more --microbatches, --remat or more devices'
        print(f'of the 16 GiB of a TPU v5e: {part:.0%}{remedy}')


def _devices(config, asked, wanted, count):
    """How many devices share a step; raises UserError where they cannot."""
    if wanted == 'tpu' and not count:
        raise UserError(f'--tpu={asked.tpu} is not asked how many cores it has: give --dry_run_devices=N')
    if wanted == 'one' and count > 1:
        raise UserError(f'--dry_run_devices={count} does not go with --strategy=one: drop one of them')
    count, options = count or devices.count(wanted), config.training
    if options.batch_size % (count * options.microbatches):
        raise UserError(
            f'--batch_size={options.batch_size} must divide by {count} devices times '
            f'--microbatches={options.microbatches}'
        )
    combinations.check_replicas(config, count)
    return count


def _costs(model, count):
    """What a training step costs each of some devices, {label: number}."""
    step = cost(model)
    share = {
        'devices': count,
        'FLOPs of a training step, per device': step['FLOPs of a training step'] // count,
    }
    return {**step, **share, **memory.needed(model, count)}


def _readable(config):
    """A configuration by group, each option as the command line takes it."""
    lines = []
    for group in configuration.groups():
        values = vars(getattr(config, group.name))
        words = ' '.join(f'{name}={text(value)}' for name, value in values.items())
        lines += [group.type.__doc__, *textwrap.wrap(words, 100, initial_indent='  ', subsequent_indent='  ')]
    return '\n'.join(lines)
