"""Tells how long a training step spends on each kind of operation, by TensorFlow's profiler."""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from drl_tf.base.errors import UserError
from drl_tf.config.config import Config
from drl_tf.data import pipeline
from drl_tf.tools.bench.settings import Settings, configurations
from drl_tf.tools.bench.timing import in_turn, spread
from drl_tf.tools.bench.training import update_alone, whole_step
from drl_tf.training.optimizers import compiled_model

# The first pattern that an operation's type matches names its kind.
KINDS = {
    'convolutions': 'Conv2D',
    'matrix products': 'MatMul|Einsum',
    'reads and updates of variables': 'Resource|Assign|ReadVariable',
    'casts': 'Cast',
    'reductions': 'Sum|AddN|BiasAddGrad|Mean|L2Loss|^(Max|Min|All|Any|Prod)$',
    'copies and pooling': 'Transpose|Concat|Slice|Pad|Tile|Gather|Split|Pack|Resize|Pool|Broadcast',
    'all else': '',
}
_CONTAINERS = re.compile('While|If|Case|PartitionedCall')  # The operations in them are events of their own.


def lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Profiles a training step of each preset in each precision, and the update of the weights alone.

    The update is what is left of a step that reads given losses and gradients; these reads are part of it.

    Args:
      settings: the settings; each step runs `rounds` times without and with the profiler.

    Yields:
      Results of part 'profile', two for each preset and precision; the name of the second ends in ', update'.
      'step' is the time of the step or of the update in seconds without the profiler, as a spread. For each
      kind of operation there are its seconds with the profiler, which is slower, and the number of its
      operations. Operations that run at once count in full.

    Raises:
      UserError: the profiler sees no operation, because XLA compiles the step.
    """
    with tempfile.TemporaryDirectory() as directory:
        for preset, config in configurations(settings, directory).items():
            functions = {preset + part: function for part, function in _parts(config).items()}
            seconds = in_turn(functions, settings.rounds)
            for name, function in functions.items():
                logs = pathlib.Path(tempfile.mkdtemp(dir=directory))
                took = dataclasses.asdict(spread(seconds[name]))
                kinds = _profiled(function, settings.rounds, logs)
                yield {'part': 'profile', 'name': name, 'step': took, **kinds}


def _parts(config: Config) -> dict[str, Callable[[], float]]:
    """Returns callables that take a step, and an update, on one batch over and over, and return the loss."""
    model = compiled_model(config)
    batches = pipeline.training_images(config.data, config.training.batch_size, config.training.seed)
    batch = next(iter(batches))
    step, update = whole_step(model), update_alone(model, batch)
    return {'': lambda: float(step(batch)['loss']), ', update': lambda: float(update(batch)['loss'])}


def _profiled(function: Callable[[], object], count: int, logs: pathlib.Path) -> dict[str, float]:
    """Calls a function `count` times under the profiler; returns the result of `by_kind`."""
    with tf.profiler.experimental.Profile(str(logs)):
        for _ in range(count):
            function()
    kinds = by_kind(_operations(logs), count)
    if not kinds['number of all else']:
        raise UserError('the profiler sees no operation of a step that XLA compiles: use a CPU')
    return kinds


def _operations(logs: pathlib.Path) -> Iterator[tuple[str, float]]:
    """Yields type and seconds of each operation that the profiler saw; its events are called 'name:type'.

    Args:
      logs: directory of the profiler.
    """
    space = xplane_pb2.XSpace()
    space.ParseFromString(next(logs.rglob('*.xplane.pb')).read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, colon, operation = plane.event_metadata[event.metadata_id].name.rpartition(':')
                if colon and operation.isidentifier() and not name.endswith(':'):
                    yield operation, event.duration_ps / 1e12


def by_kind(operations: Iterator[tuple[str, float]], steps: int) -> dict[str, float]:
    """Returns the seconds and the number of operations of each kind in a step.

    Args:
      operations: type and seconds of each operation in all steps. Loops, conditions and calls do not count.
      steps: number of steps.

    Examples:
      >>> found = by_kind(iter([('Conv2D', 3.0), ('While', 9.0), ('Mul', 1.0), ('Conv2D', 1.0)]), steps=2)
      >>> {kind: value for kind, value in found.items() if value}
      {'convolutions': 2.0, 'all else': 0.5, 'number of convolutions': 1.0, 'number of all else': 0.5}
    """
    seconds, counts = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for operation, duration in operations:
        if not _CONTAINERS.search(operation):
            kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))
            seconds[kind] += duration / steps
            counts[kind] += 1
    return {**seconds, **{f'number of {kind}': count / steps for kind, count in counts.items()}}
