"""The callbacks of training, and actions: callables (step, logs) that do one thing between two steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras

from drl_tf.runs import checkpoint
from drl_tf.training.grids import sample_grid
from drl_tf.training.metrics_log import MetricsLog
from drl_tf.training.scores import Scores
from drl_tf.training.stopping import stop_on_divergence

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.training.progress import Stopwatch
    from drl_tf.training.stopping import StopAtEnd
    from drl_tf.training.train import Task

Action = Callable[[int, Any], None]


class Periodic(keras.callbacks.Callback):
    """Keras callback that calls an action every few steps, and after the last step.

    If Keras runs several steps per call (`steps_per_execution`), `every` must be a multiple of their number.

    Args:
      every: steps between calls.
      first_step, last_step: steps at which training begins and ends.
      action: callable, called with (step, logs).
      at_stop: whether to call the action also if training stops early.
    """

    def __init__(self, every: int, first_step: int, last_step: int, action: Action, at_stop: bool = True):
        super().__init__()
        self.every = every
        self.first_step = first_step
        self.last_step = last_step
        self.action = action
        self.at_stop = at_stop

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        step = self.first_step + batch + 1
        if step % self.every == 0 or step == self.last_step or (self.at_stop and self.model.stop_training):
            self.action(step, logs)


def in_order(
    model: RecoveryLikelihood, task: Task, step: int, end: StopAtEnd, watch: tuple[Stopwatch, int]
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a training run, in the order in which they must run.

    The order: stop, check for divergence, measure time, log, draw samples, save, score, write `report.html`.

    So nothing is written after a divergence. If training stops early, nothing is logged: the checkpoint
    stores the running means, and the next run continues them.

    Args:
      model: a compiled model.
      task: what to train.
      step: step at which training begins.
      end: the callback that stops training, a `StopAtEnd`.
      watch: pair (`Stopwatch`, number of steps between checks for divergence).
    """
    config = model.config
    options = config.training
    stopwatch, look_every = watch
    run = task.run

    def periodic(every: int, action: Action, at_stop: bool = True) -> Periodic:
        return Periodic(every, step, options.train_steps, action, at_stop)

    actions = [
        end,
        periodic(look_every, stop_on_divergence(model, run, task.workdir)),
        stopwatch,
        periodic(options.log_every, MetricsLog(model, run, step), at_stop=False),
    ]
    if options.grid_every:
        actions.append(periodic(options.grid_every, sample_grid(model, run)))
    actions.append(
        periodic(options.checkpoint_every, lambda step, logs: checkpoint.save(model, task.workdir))
    )
    if config.evaluation.evaluate_every:
        scores = Scores(model, run, task.workdir, step, end)
        scores.catch_up(step)
        actions.append(periodic(config.evaluation.evaluate_every, scores, at_stop=False))
    actions.append(periodic(options.checkpoint_every, task.page, at_stop=False))
    return actions
