"""The log of a run: a line of `metrics.jsonl` every so many steps, and the same numbers for TensorBoard."""

import json
import math
import os
import time

import numpy as np
import tensorflow as tf

from drl_tf.base.files import named
from drl_tf.distributed import workers
from drl_tf.runs import json_lines, pictures


def _number(value):
    """A number for JSON, which has no NaN: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def numbers(logs):
    return {name: _number(value) for name, value in logs.items()}


def by_level(model):
    """{'level_<name>': [mean of each level, or None]} since the sums were last reset."""
    sums = model.level_sums()
    with np.errstate(invalid='ignore'):
        means = {
            name: sums[mean.total.path] / sums[mean.count.path] for name, mean in model.level_means.items()
        }
    return {f'level_{name}': [_number(value) for value in mean] for name, mean in means.items()}


class MetricsLog:
    """An action that appends a line to `metrics.jsonl` and scalars to TensorBoard.

    Lines of steps after `first_step`, from a run that was interrupted, are dropped first.
    """

    def __init__(self, model, workdir, first_step, batch_size):
        self.model, self.batch_size = model, batch_size
        self.path = os.path.join(workdir, 'metrics.jsonl')
        workers.by_chief(lambda: json_lines.drop_after(self.path, first_step))
        self.writer = workers.by_chief(
            lambda: tf.summary.create_file_writer(os.path.join(workdir, 'tensorboard'))
        )
        self.last = (first_step, time.monotonic())

    def __call__(self, step, logs):
        (last_step, last_time), now = self.last, time.monotonic()
        if step == last_step:
            return
        self.last = (step, now)
        speed = (step - last_step) * self.batch_size / (now - last_time)
        line = {
            'step': step,
            'time': time.time(),
            'images_per_second': speed,
            **numbers(logs),
            **by_level(self.model),
        }
        for mean in self.model.level_means.values():
            mean.reset_state()
        workers.by_chief(lambda: self.write(self.path, line))

    def write(self, path, line, prefix=''):
        """Appends a line, a dict with 'step', to a file, and its numbers to TensorBoard."""
        with named(path), open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
        with self.writer.as_default(step=line['step']):
            for name, value in _scalars(line):
                tf.summary.scalar(prefix + name, value)
            self.writer.flush()

    def grid(self, step, cells):
        """Shows a grid of images, uint8 [rows, columns, H, W, C], in TensorBoard."""
        with self.writer.as_default(step=step):
            tf.summary.image('samples', pictures.tile(cells)[None])
            self.writer.flush()


def _scalars(line):
    """Flattens a line of the log into (name, number), one per level where a value has one."""
    for name, value in line.items():
        if isinstance(value, list):
            yield from ((f'{name}/{t}', number) for t, number in enumerate(value) if number is not None)
        elif name not in ('step', 'time') and isinstance(value, float):
            yield name, value
