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


class _Periodic(keras.callbacks.Callback):
    """Keras callback that calls a function every few training steps, and after the last step.

    If Keras runs several steps per call (`steps_per_execution`), `every` must be a multiple of their number.

    Args:
      every: the function is called after each step whose number is a multiple of this.
      first_step: number of steps that were done when training began.
      last_step: number of the last step of training.
      action: the function, called with (step, logs): the number of steps that are done, and the values that
        Keras logs, {name: float}.
      at_stop: whether to call the function also when training stops before the last step.
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
    The check comes before all callbacks that write, so a model that diverged is not saved.

    If training stops before its last step, the samples are drawn and the checkpoint is saved, but no line is
    added to the log: the checkpoint stores the running means, and the resumed run continues them.

    If an interrupted run ended before it computed a score that was due, this function first computes the
    score.

    Args:
      model: the model to train, with its optimizers.
      task: the run: its workdir, and the objects that write files there.
      step: number of training steps that are done.
      end: the callback that stops training; it comes first in the result.
      watch: pair of the stopwatch, a callback that measures the time in steps, and the number of steps
        between checks for divergence.
    """
    config = model.config
    options = config.training
    stopwatch, look_every = watch
    run = task.run

    def periodic(every: int, action: Action, at_stop: bool = True) -> _Periodic:
        return _Periodic(every, step, options.train_steps, action, at_stop)

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
