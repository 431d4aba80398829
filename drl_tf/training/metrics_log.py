"""The log of a run: lines of `metrics.jsonl`, and the same numbers for TensorBoard."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from drl_tf.runs.run_directory import METRICS

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run


def _number(value: float) -> float | None:
    """Returns a number for JSON; None in place of NaN and infinities, which JSON lacks."""
    return float(value) if math.isfinite(value) else None


def numbers(logs: Mapping[str, float]) -> dict[str, float | None]:
    """Replaces NaN and infinities, which JSON lacks, by None in the values that are logged.

    Args:
      logs: {name of a value: number}.

    Returns:
      {name of a value: number or None}.
    """
    return {name: _number(value) for name, value in logs.items()}


def by_level(model: RecoveryLikelihood) -> dict[str, list[float | None]]:
    """Returns the mean of each logged value, such as the loss, at each noise level.

    The means are over the training steps since the last line of the log.

    Args:
      model: the model in training.

    Returns:
      {'level_<name of the value>': [mean at level 0, mean at level 1, ...]}. A mean is None if it is not
      finite, or if no image had this level.
    """
    sums = model.level_sums()
    with np.errstate(invalid='ignore'):
        means = {
            name: sums[mean.total.path] / sums[mean.count.path] for name, mean in model.level_means.items()
        }
    return {f'level_{name}': [_number(value) for value in mean] for name, mean in means.items()}


class MetricsLog:
    """Callable that writes a line to `metrics.jsonl`, and the same values for TensorBoard.

    Training calls it with (step, logs): the number of training steps done, and the values that Keras logs,
    {name: number}. The constructor removes lines of steps after `first_step`, which an interrupted run left
    behind.

    Args:
      model: the model in training.
      run: the `Run` that writes the files of the workdir.
      first_step: number of steps that were done when training began.
    """

    def __init__(self, model: RecoveryLikelihood, run: Run, first_step: int):
        self.model = model
        self.run = run
        self.batch_size = model.config.training.batch_size
        run.drop_lines_after(METRICS, first_step)
        self.last = (first_step, time.monotonic())

    def __call__(self, step: int, logs: Mapping[str, float]) -> None:
        last_step, last_time = self.last
        now = time.monotonic()
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
