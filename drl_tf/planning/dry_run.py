"""What a run would take, told before it is begun."""

import dataclasses
import json

from drl_tf.base.errors import UserError
from drl_tf.core.cooperative import build_model
from drl_tf.distributed import cluster, devices
from drl_tf.planning import memory
from drl_tf.planning.flops import cost

_TPU_MEMORY = 16 * 2**30


def show(config, asked, count):
    """Prints a configuration, and what a training step costs each device in operations and memory.

    Args:
      config: a `Config`.
      asked: a `cluster.Devices`.
      count: how many devices; 0: those that `asked`, this machine and TF_CONFIG come to.

    Raises:
      UserError: they cannot share the batch, or are those of a TPU, which is not asked how many it has.
    """
    wanted, options = cluster.chosen(asked), config.training
    if wanted == 'tpu' and not count:
        raise UserError(f'--tpu={asked.tpu} is not asked how many cores it has: give --dry_run_devices=N')
    if wanted == 'one' and count > 1:
        raise UserError(f'--dry_run_devices={count} does not go with --strategy=one: drop one of them')
    count = count or devices.count(wanted)
    if options.batch_size % (count * options.microbatches):
        raise UserError(
            f'--batch_size={options.batch_size} must divide by {count} devices times '
            f'--microbatches={options.microbatches}'
        )
    print(json.dumps(dataclasses.asdict(config), indent=2))
    precision = devices.resolve_precision(options.precision, wanted == 'tpu')
    model = build_model(config.replace(precision=precision))
    numbers = cost(model)
    share = {
        'devices': count,
        'FLOPs of a training step, per device': numbers['FLOPs of a training step'] // count,
    }
    needed = memory.needed(model, count)
    print(f'network arithmetic: {precision}')
    for label, number in {**numbers, **share, **needed}.items():
        print(f'{label}: {number:,}')
    part = needed[memory.SUM] / _TPU_MEMORY
    remedy = '' if part < 1 else ', too much; take more --microbatches, --remat or more devices'
    print(f'of the 16 GiB of a TPU v5e: {part:.0%}{remedy}')
