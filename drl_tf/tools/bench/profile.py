"""Tells how long a training step spends on each kind of operation, by TensorFlow's profiler."""

import pathlib
import re
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from drl_tf.data import pipeline
from drl_tf.tools.bench.settings import Settings, configurations
from drl_tf.training.optimizers import compiled_model

_WARM_UP = 3
_CONTAINERS = re.compile('While|If|Case|PartitionedCall')  # Their operations are seen by themselves.
# The first pattern that an operation's type matches names its kind.
KINDS = {
    'convolutions': 'Conv2D',
    'matrix products': 'MatMul|Einsum',
    'updates of variables': 'Resource|Assign|ReadVariable',
    'casts': 'Cast',
    'sums and other reductions': 'Sum|AddN|BiasAddGrad|Mean|Max$|^All$|Prod$',
    'copies': 'Transpose|Concat|Slice|Pad|Tile|Gather|Split|Pack|Fill|Like|ResizeNearest|AvgPool',
    'element-wise, and small ones': '',
}


def lines(settings: Settings) -> Iterator[dict[str, Any]]:
    """Profiles a training step of each preset in each precision.

    Args:
      settings: the settings; each step runs `rounds` times.

    Yields:
      Results of part 'profile': 'step' is the median of a step in seconds without the profiler. For each kind
      of operation there are the seconds and the number of its operations in one step with the profiler, which
      is slower. Operations that run at once count in full.
    """
    with tempfile.TemporaryDirectory() as directory:
        for number, (name, config) in enumerate(configurations(settings, directory).items()):
            model = compiled_model(config)
            batch = next(
                iter(pipeline.training_images(config.data, config.training.batch_size, config.training.seed))
            )
            step = tf.function(model.train_step, jit_compile=model.jit_compile)
            seconds = [_timed(step, batch) for _ in range(_WARM_UP + settings.rounds)][_WARM_UP:]
            logs = pathlib.Path(directory, f'profile{number}')
            with tf.profiler.experimental.Profile(str(logs)):
                for _ in range(settings.rounds):
                    step(batch)
            yield {
                'part': 'profile',
                'name': name,
                'step': sorted(seconds)[len(seconds) // 2],
                **_by_kind(_operations(logs), settings.rounds),
            }


def _timed(step: Any, batch: Any) -> float:
    begin = time.perf_counter()
    step(batch)
    return time.perf_counter() - begin


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
                name, colon, kind = plane.event_metadata[event.metadata_id].name.rpartition(':')
                is_operation = colon and kind.isidentifier() and not name.endswith(':')
                if is_operation and not _CONTAINERS.search(kind):
                    yield kind, event.duration_ps / 1e12


def _by_kind(operations: Iterator[tuple[str, float]], steps: int) -> dict[str, float]:
    """Returns the seconds and the number of operations of each kind in a step."""
    seconds, counts = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for operation, duration in operations:
        kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))
        seconds[kind] += duration / steps
        counts[kind] += 1
    numbers = {f'number of {kind}': round(counts[kind] / steps) for kind in KINDS}
    return {**seconds, **numbers}
