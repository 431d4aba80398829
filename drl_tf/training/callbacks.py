"""What happens during training besides the steps: each action is called with (step, logs) and does one
thing."""

import keras

from drl_tf.runs import checkpoint
from drl_tf.training.grids import sample_grid
from drl_tf.training.metrics_log import MetricsLog
from drl_tf.training.scores import Scores
from drl_tf.training.stopping import stop_on_divergence


class Periodic(keras.callbacks.Callback):
    """Calls `action(step, logs)` after every `every` steps, after the last one and, with `at_stop`, where
    training ends before it.

    Steps are counted here from `first_step`: to ask the device would be to wait for it. Where a call of Keras
    is of several steps, their number divides `every`.
    """

    def __init__(self, every, first_step, last_step, action, at_stop=True):
        super().__init__()
        self.every = every
        self.first_step = first_step
        self.last_step = last_step
        self.action = action
        self.at_stop = at_stop

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        if step % self.every == 0 or step == self.last_step or (self.at_stop and self.model.stop_training):
            self.action(step, logs)


def in_order(model, task, step, end, watch):
    """The callbacks of a run from a step on: note whether to stop, end before anything is written from a bad
    state, time, log, draw, save, score.

    The log, whose means the checkpoints carry on, has no line for a step where training was merely
    interrupted.

    Args:
      model: a compiled `RecoveryLikelihood`.
      task: a `train.Task`.
      step: where training begins.
      end: a `StopAtEnd`.
      watch: a `Stopwatch`, and the steps between looks at what the device found.
    """
    config, options, (stopwatch, look_every) = model.config, model.config.training, watch
    run = task.run

    def periodic(every, action, at_stop=True):
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
    return actions
