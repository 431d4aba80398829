"""Predicts training on many accelerators: tables of all presets, from operations, bytes and hardware figures.

    python -m drl_tf.tools.scaling_table

The times are computed, not measured: arithmetic at a share of the peak, then the sum of the gradients over
all devices.
"""

import argparse
import dataclasses
from collections.abc import Sequence

from drl_tf.cli import parsing
from drl_tf.config.config import Config
from drl_tf.tools.tpu_compile import PRESETS

DEVICES = (1, 8, 64, 256)
SHARE_OF_PEAK = 0.4


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """The speed of an accelerator, and of the network that connects several of them.

    Attributes:
      name: name to print.
      flops: peak operations per second, in bfloat16 without sparsity.
      memory: memory in bytes.
      link: bytes per second that an accelerator sends to others in its group.
      group: number of accelerators that fast links connect, such as the GPUs of a server.
      far_link: bytes per second that an accelerator sends to other groups.
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


def seconds(accelerator: Accelerator, flops: float, gradient_bytes: float, count: int) -> tuple[float, float]:
    """Predicts how long a training step takes on several accelerators, in seconds.

    Args:
      accelerator: the figures of the hardware.
      flops: operations of the whole step.
      gradient_bytes: bytes of the gradients of one accelerator; they are summed over all accelerators.
      count: number of accelerators.

    Returns:
      Pair of the time for arithmetic, at 40 % of the peak, and the time for communication. The gradients
      are summed by two ring all-reduces. Let the accelerators form m groups of g each, and let `link` and
      `far_link` be the speeds in the `Accelerator`. The all-reduce within a group takes
      2 (g - 1) / g * gradient_bytes / link, and the one between the groups takes
      2 (m - 1) / m * gradient_bytes / g / far_link.
    """
    group = min(count, accelerator.group)
    groups = -(-count // group)
    near = 2 * (group - 1) / group * gradient_bytes
    far = 2 * (groups - 1) / groups * gradient_bytes
    arithmetic = flops / (count * SHARE_OF_PEAK * accelerator.flops)
    return arithmetic, near / accelerator.link + far / group / accelerator.far_link


def takes_over(accelerator: Accelerator, flops: float, gradient_bytes: float) -> int:
    """Returns the smallest number of accelerators that communicate at least as long as they compute.

    Both times are predicted for a training step, by `seconds`. The number is at least 2.

    Args:
      accelerator: the figures of the hardware.
      flops: operations of a whole training step.
      gradient_bytes: bytes of the gradients of one accelerator, above 0; they are summed over all
        accelerators.
    """
    count = 2
    while True:
        arithmetic, communication = seconds(accelerator, flops, gradient_bytes, count)
        if communication >= arithmetic:
            return count
        count += 1


def _figures(config: Config) -> dict[str, int]:
    """Returns the cost of a training step in bfloat16 on one device, {quantity: number}.

    'batch' counts images and 'flops' operations; 'activations' are bytes of one image; the others are bytes.
    """
    from drl_tf.core.build_model import build_model
    from drl_tf.planning import memory
    from drl_tf.planning.flops import cost

    config = config.replace(precision='bfloat16')
    model = build_model(config)
    parts = memory.needed(model)
    batch = config.training.batch_size
    return {
        'batch': batch,
        'flops': cost(model)['FLOPs of a training step'],
        'weights': parts['bytes of weights'] + parts['bytes of averaged weights'],
        'optimizer': parts['bytes of optimizer'],
        'activations': parts['bytes of activations of a microbatch'] * config.training.microbatches // batch,
        'gradients': parts['bytes of gradients'] // min(2, config.training.microbatches),
    }


def costs(presets: dict[str, dict[str, int]]) -> str:
    """Returns a Markdown table of the cost of a training step with each preset.

    Args:
      presets: {options of the preset: cost of a training step}. The options are a text such as
        '--dataset=digits --recipe=t6'. A cost is a dict with 'batch' (images), 'flops' (operations),
        'activations' (bytes per image), and the bytes of 'weights', 'optimizer' and 'gradients'.
    """
    rows = [
        '| preset | batch | TFLOP per image and step | weights and averages | optimizer | activations per '
        'image | gradients sent a step |',
        '|---|---|---|---|---|---|---|',
    ]
    for words, step in presets.items():
        sizes = [step[name] for name in ('weights', 'optimizer', 'activations', 'gradients')]
        cells = [
            f'`{words}`',
            str(step['batch']),
            f'{step["flops"] / step["batch"] / 1e12:.3g}',
            *(f'{size / 1e6:,.1f} MB' for size in sizes),
        ]
        rows.append(f'| {" | ".join(cells)} |')
    return '\n'.join(rows)


def times(accelerator: Accelerator, presets: dict[str, dict[str, int]]) -> str:
    """Returns a Markdown table of the predicted time of a training step on 1, 8, 64 and 256 accelerators.

    Args:
      accelerator: the figures of the hardware.
      presets: {options of the preset: cost of a training step}. The options are a text such as
        '--dataset=digits --recipe=t6'. A cost is a dict with 'batch' (images), 'flops' (operations) and
        'gradients' (bytes).
    """
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


def _cell(accelerator: Accelerator, step: dict[str, int], count: int) -> str:
    """Formats the time of a step, and the share of communication in it.

    If the batch has fewer images than devices, it is enlarged to one image per device, which a star marks.
    """
    growth = max(1, count / step['batch'])
    arithmetic, communication = seconds(accelerator, growth * step['flops'], step['gradients'], count)
    total = arithmetic + communication
    text = f'{total:.3g} s' if total >= 1 else f'{1e3 * total:.3g} ms'
    if count > 1:
        text += f' ({communication / total:.0%})'
    return f'{text}*' if growth > 1 else text


def main(argv: Sequence[str] | None = None) -> None:
    """Prints what a training step of each preset costs, and its predicted time on many accelerators.

    This takes a while, because it builds each model.

    Args:
      argv: command line; only --help has an effect. None: that of the process.
    """
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(argv)
    presets = {words: _figures(parsing.configuration_of(words.split())) for words in PRESETS}
    for table in (costs(presets), *(times(accelerator, presets) for accelerator in ACCELERATORS)):
        print(table, end='\n\n')


if __name__ == '__main__':
    main()
