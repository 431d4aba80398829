"""Ends training: after the last step, at a time limit, on a signal, or on divergence."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import keras

from drl_tf.base.errors import DivergenceError, Interrupted
from drl_tf.distributed import chief, workers
from drl_tf.training.metrics_log import by_level, numbers

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run
    from drl_tf.training.signals import Signals


class TimeLimit:
    """A time limit, whose time starts at the first call of `is_up`.

    Args:
      seconds: the limit; 0: no limit.
      clock: function that returns the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.seconds = seconds
        self.clock = clock
        self.start: float | None = None

    def is_up(self) -> bool:
        """Returns whether the time is up."""
        self.start = self.start or self.clock()
        return bool(self.seconds) and self.left() < 0

    def left(self) -> float:
        """Returns the seconds left until the time is up; without a limit, the result has no meaning.

        Before the first call of `is_up`, all seconds of the limit are left.
        """
        return self.seconds - (self.clock() - self.start if self.start else 0)


class StopAtEnd(keras.callbacks.Callback):
    """Keras callback that ends training after the last step, when the time is up, or on a signal.

    Several workers end at the same step, even if only one of them got the signal: every `ask_every` steps,
    they tell each other whether to stop.

    Args:
      first_step: number of steps that were done when training began.
      last_step: number of the last step of training.
      time_limit: a `TimeLimit`; training ends when its time is up.
      signals: a `Signals`, the context manager that notes SIGINT and SIGTERM in this worker.
      ask_every: number of steps from one exchange between workers to the next. A single worker ignores it,
        and checks time and signals after each step.
    """

    def __init__(
        self, first_step: int, last_step: int, time_limit: TimeLimit, signals: Signals, ask_every: int
    ):
        super().__init__()
        self.first_step = first_step
        self.last_step = last_step
        self.time_limit = time_limit
        self.signals = signals
        self.ask_every = 1 if workers.count() == 1 else ask_every

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        step = self.first_step + batch + 1
        if step >= self.last_step or (step % self.ask_every == 0 and self._is_any_asked()):
            self.model.stop_training = True

    def _is_any_asked(self) -> bool:
        return any(workers.exchange(self.time_limit.is_up() or bool(self.signals.number)))

    def raise_if_asked(self, step: int) -> None:
        """Raises `Interrupted` if any worker got a signal to stop; call this after saving a checkpoint.

        Args:
          step: training step of the checkpoint, for the message.
        """
        number = next(filter(None, workers.exchange(self.signals.number)), None)
        if number:
            name = signal.Signals(number).name
            raise Interrupted(
                f'{name} came: saved at step {step}; the same command (without --restart) continues there',
                number,
            )


def stop_on_divergence(
    model: RecoveryLikelihood, run: Run, workdir: str
) -> Callable[[int, Mapping[str, float]], None]:
    """Returns a function that raises `DivergenceError` if training has diverged.

    Training has diverged if a loss, gradient or weight was not finite at any step, or if the loss exceeded
    the option `max_loss`. Before the function raises, it writes the logged values and their means at each
    noise level to `diverged-N.json`, where N is the first step that diverged.

    Args:
      model: the model in training.
      run: writes the files of the workdir.
      workdir: the run's directory, named in the error message.

    Returns:
      A function of (step, logs), which training calls between two steps. step: number of training steps
      done. logs: the values that Keras logs, {name: number}.
    """

    others = ' or --clip_norm=1'
    if model.config.network.energy == 'paper' and model.config.training.objective == 'contrastive':
        others = ', --clip_norm=1, --shared_noise or a larger --energy_l2'

    @chief.only
    def first_bad_step() -> int:
        return int(model.first_bad_step.read_value())

    def check(step: int, logs: Mapping[str, float]) -> None:
        bad = first_bad_step()
        if bad < 0:
            return
        name = f'diverged-{bad}.json'
        seen = {'step': bad, 'seen_at': step, **numbers(logs), **by_level(model)}
        run.write_json(name, seen)
        raise DivergenceError(
            f'the energies diverged at step {bad} (seen at {step}: loss {logs["loss"]:.4g}, '
            f'gradient norm {logs["gradient_norm"]:.4g}, --max_loss={model.config.training.max_loss:g}; '
            f'{os.path.join(workdir, name)}): start a new --workdir with a lower --learning_rate{others}',
            bad,
        )

    return check
