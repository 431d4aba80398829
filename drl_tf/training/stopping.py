"""Why training ends: the last step, a time limit, a signal, or energies that ran away."""

import os
import signal
import time

import keras

from drl_tf.base.errors import DivergenceError, Interrupted
from drl_tf.distributed import workers
from drl_tf.training.metrics_log import by_level, numbers


class TimeLimit:
    """Seconds from the first call of `is_up` after which it says True; 0 is no limit."""

    def __init__(self, seconds, clock=time.monotonic):
        self.seconds = seconds
        self.clock = clock
        self.start = None

    def is_up(self):
        self.start = self.start or self.clock()
        return bool(self.seconds) and self.left() < 0

    def left(self):
        """Seconds that are left; all of them before the first call of `is_up`."""
        return self.seconds - (self.clock() - self.start if self.start else 0)


class StopAtEnd(keras.callbacks.Callback):
    """Ends training after the last step, when its time is up, or on a signal.

    The steps at hand are finished and saved. Several workers ask each other every `ask_every` steps, so that
    all of them end at the same one, whichever got the signal. (The handler that tf.distribute has for this
    needs workers that are within one step of each other, and knows SIGTERM alone.)

    Args:
      first_step, last_step: where training begins and ends.
      time_limit: a `TimeLimit`.
      signals: the `signals.Signals` of this worker.
      ask_every: steps between the questions; one worker looks after each.
    """

    def __init__(self, first_step, last_step, time_limit, signals, ask_every):
        super().__init__()
        self.first_step = first_step
        self.last_step = last_step
        self.time_limit = time_limit
        self.signals = signals
        self.ask_every = 1 if workers.count() == 1 else ask_every

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        if step >= self.last_step or (step % self.ask_every == 0 and self._is_any_asked()):
            self.model.stop_training = True

    def _is_any_asked(self):
        return any(workers.exchange(self.time_limit.is_up() or bool(self.signals.number)))

    def raise_if_asked(self, step):
        """Raises the error that ends a run on the signal that came to any worker, once a step is saved."""
        number = next(filter(None, workers.exchange(self.signals.number)), None)
        if number:
            name = signal.Signals(number).name
            raise Interrupted(
                f'{name} came: saved at step {step}, where the same command (without --restart) goes on',
                number,
            )


def stop_on_divergence(model, run, workdir):
    """An action that raises `DivergenceError` where there was a bad step, see
    `RecoveryLikelihood.first_bad_step`.

    What the levels looked like since the last line of the log is then in `diverged-<step>.json`.
    """

    def check(step, logs):
        bad = workers.told_by_chief(lambda: int(model.first_bad_step.read_value()))
        if bad < 0:
            return
        name, options = f'diverged-{bad}.json', model.config.training
        seen = {'step': bad, 'seen_at': step, **numbers(logs), **by_level(model)}
        run.write_json(name, seen)
        raise DivergenceError(
            f'the energies ran away at step {bad} (seen at {step}: loss {logs["loss"]:.4g}, gradient norm '
            f'{logs["gradient_norm"]:.4g}, '
            f'--max_loss={options.max_loss:g}; {os.path.join(workdir, name)}): start a new --workdir with a '
            'lower --learning_rate, --clip_norm=1, --shared_noise or a larger --energy_l2',
            bad,
        )

    return check
