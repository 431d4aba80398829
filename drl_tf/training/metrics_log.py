"""The log of a run: a line of `metrics.jsonl` every so many steps, and the same numbers for TensorBoard."""

import math
import time

import numpy as np

from drl_tf.runs.run_directory import METRICS


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

    def __init__(self, model, run, first_step):
        self.model = model
        self.run = run
        self.batch_size = model.config.training.batch_size
        run.drop_lines_after(METRICS, first_step)
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
        self.run.append(METRICS, line)
