"""What training would take on many accelerators: a table of all presets, from operations, bytes and the
figures of the hardware.

    python -m drl_tf.tools.scaling_table

The times are computed, not measured: arithmetic at a share of the peak, and then the sum of the gradients
over all devices.
"""

import argparse
from typing import NamedTuple

from drl_tf.cli import parsing
from drl_tf.tools.tpu_compile import PRESETS

DEVICES = (1, 8, 64, 256)
SHARE_OF_PEAK = 0.4


class Accelerator(NamedTuple):
    """An accelerator and how it is tied to others.

    Attributes:
      name: as it is printed.
      flops: peak, bfloat16 without sparsity, per second.
      memory: bytes.
      link: bytes per second that each sends, within a group.
      group: how many are tied like that.
      far_link: bytes per second that each sends beyond its group.
    """

    name: str
    flops: float
    memory: float
    link: float
    group: int
    far_link: float


ACCELERATORS = (
    Accelerator('TPU v5e', 197e12, 16 * 2**30, 200e9, 256, 6.4e12 / 8 / 256),
    Accelerator('H100', 989e12, 80e9, 450e9, 8, 50e9),
)


def seconds(accelerator, flops, gradient_bytes, count):
    """Time of a step, arithmetic and communication, which do not overlap.

    Args:
      accelerator: an `Accelerator`.
      flops: of the whole step.
      gradient_bytes: of one sum of the gradients.
      count: n, accelerators.

    Returns:
      The two times: flops / (n * share * peak); and for each sum of the gradients a ring within each group of
        g,
      2 (g - 1) / g * bytes / link, and one over the m groups of a g-th of the bytes, 2 (m - 1) / m * bytes /
      g / far_link.
    """
    group = min(count, accelerator.group)
    groups = -(-count // group)
    near, far = (2 * (members - 1) / members * gradient_bytes for members in (group, groups))
    arithmetic = flops / (count * SHARE_OF_PEAK * accelerator.flops)
    return arithmetic, near / accelerator.link + far / group / accelerator.far_link


def takes_over(accelerator, flops, gradient_bytes):
    """From how many accelerators on, the batch being the same, communication takes longer than arithmetic."""
    count = 2
    while True:
        arithmetic, communication = seconds(accelerator, flops, gradient_bytes, count)
        if communication >= arithmetic:
            return count
        count += 1


def figures(config):
    """What a step of a configuration takes, in bfloat16, {name: number}: `flops` of the batch, and bytes."""
    from drl_tf.core.models import build_model
    from drl_tf.planning import memory
    from drl_tf.planning.flops import cost

    config = config.replace(precision='bfloat16')
    model = build_model(config)
    parts, batch = memory.needed(model), config.training.batch_size
    return {
        'batch': batch,
        'flops': cost(model)['FLOPs of a training step'],
        'weights': parts['bytes of weights'] + parts['bytes of averaged weights'],
        'optimizer': parts['bytes of optimizer'],
        'activations': parts['bytes of activations of a microbatch'] * config.training.microbatches // batch,
        'gradients': parts['bytes of gradients'] // min(2, config.training.microbatches),
    }


def costs(presets):
    """A table in Markdown of what a step takes; `presets` are {command line: its `figures`}."""
    rows = [
        '| preset | batch | TFLOP per image and step | weights and averages | optimizer | activations per '
        'image | gradients sent a step |',
        '|---|---|---|---|---|---|---|',
    ]
    for words, step in presets.items():
        sizes = [
            step['weights'],
            step['optimizer'],
            step['activations'],
            step['gradients'],
        ]
        cells = [
            f'`{words}`',
            step['batch'],
            f'{step["flops"] / step["batch"] / 1e12:.3g}',
            *(f'{size / 1e6:,.1f} MB' for size in sizes),
        ]
        rows.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(rows)


def times(accelerator, presets):
    """A table in Markdown of the time of a step on 1, 8, 64 and 256 accelerators; `presets` as in `costs`."""
    heads = [f'{count} x {accelerator.name}' for count in DEVICES]
    rows = [
        f'| preset | {" | ".join(heads)} | communication takes longer from |',
        '|---' * (len(heads) + 2) + '|',
    ]
    for words, step in presets.items():
        cells = [f'`{words}`', *(_cell(accelerator, step, count) for count in DEVICES)]
        cells.append(f'{takes_over(accelerator, step["flops"], step["gradients"]):,}')
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def _cell(accelerator, step, count):
    """Time of a step, and the share of communication in it; the batch grows to an image a device where it is
    smaller (*)."""
    grown = max(1, count / step['batch'])
    arithmetic, communication = seconds(accelerator, grown * step['flops'], step['gradients'], count)
    total = arithmetic + communication
    text = f'{total:.3g} s' if total >= 1 else f'{1e3 * total:.3g} ms'
    return text + (f' ({communication / total:.0%})' if count > 1 else '') + ('*' if grown > 1 else '')


def main(argv=None):
    """Prints the tables, once all presets have been gone through."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    presets = {words: figures(parsing.configuration_of(words.split())) for words in PRESETS}
    for table in (costs(presets), *(times(accelerator, presets) for accelerator in ACCELERATORS)):
        print(table, end='\n\n')


if __name__ == '__main__':
    main()
