"""Shows a progress bar of training with speed and time left, and measures the time spent in steps."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import tqdm

from drl_tf.distributed import workers

if TYPE_CHECKING:
    from drl_tf.config.config import Config
    from drl_tf.training.stopping import TimeLimit
_BAR = '{desc}{percentage:3.0f}%|{bar:20}|'


class Stopwatch(keras.callbacks.Callback):
    """Keras callback that measures the time within training steps.

    The first step of `fit` is not counted, because it compiles. Keras does not wait until the device has
    finished a step. So the stopwatch must come, in the list of callbacks, after one that waits: the callback
    that runs `stopping.stop_on_divergence`.

    Attributes:
      seconds: the time in the steps that are done, in seconds; calls of `fit` add up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.begin: float | None = None

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.begin = time.monotonic() if batch else None

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.begin:
            self.seconds += time.monotonic() - self.begin


class ProgressBar(keras.callbacks.Callback):
    """Keras callback that shows a progress bar: steps, images per second, time left, and the loss.

    It is a context manager too: call Keras `fit` in its `with` block, which opens and closes the bar. During
    the first step, the bar shows 'compiling'. The images per second count only the time within the later
    steps. The time left includes work between steps, such as drawing samples.

    Args:
      config: the configuration.
      first_step: number of steps that were done when training began.
      look_every: number of steps after which the shown loss is updated.
      time_limit: the `TimeLimit` of the run; the time left that the bar shows takes it into account.
      stopwatch: measures the time within steps; a callback that must run before this one.
      clock: function that returns the time in seconds.
    """

    def __init__(
        self,
        config: Config,
        first_step: int,
        look_every: int,
        time_limit: TimeLimit,
        stopwatch: Stopwatch,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.options = config.training
        self.first_step = first_step
        self.look_every = look_every
        self.time_limit = time_limit
        self.stopwatch = stopwatch
        self.clock = clock
        self.begin = clock()
        # Step, time, and seconds of the stopwatch when the first call ended.
        self.compiled: tuple[int, float, float] | None = None
        self.loss = ''
        self.bar: Any = None

    def __enter__(self) -> ProgressBar:
        batch = self.options.batch_size
        self.bar = tqdm.tqdm(
            total=self.options.train_steps * batch,
            initial=self.first_step * batch,
            dynamic_ncols=True,
            mininterval=1 if sys.stderr.isatty() else 30,
            disable=not workers.is_chief(),
            bar_format=_BAR,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.bar.set_description_str('compiling ')

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = self.first_step + batch + 1
        now = self.clock()
        self.compiled = self.compiled or (step, now, self.stopwatch.seconds)
        if step % self.look_every == 0:
            self.loss = f', loss {logs["loss"]:.4f}'
        self.bar.set_description_str(f'step {step:,} ', refresh=False)
        self.bar.bar_format = f'{_BAR} {self._times(step, now, self.compiled)}{self.loss}'
        self.bar.update(step * self.options.batch_size - self.bar.n)

    def _times(self, step: int, now: float, compiled: tuple[int, float, float]) -> str:
        """Returns rate, time done and time left as text; sets the bar's end to the step of the time limit."""
        first, begin, in_steps_before = compiled
        done = f'{tqdm.tqdm.format_interval(now - self.begin)} done'
        in_steps = self.stopwatch.seconds - in_steps_before
        if step == first or not in_steps:
            return done
        seconds = (now - begin) / (step - first)
        last = self.options.train_steps
        if self.options.max_minutes:
            last = max(step, min(last, step + math.ceil(self.time_limit.left() / seconds)))
        self.bar.total = last * self.options.batch_size
        left = tqdm.tqdm.format_interval((last - step) * seconds)
        rate = self.options.batch_size * (step - first) / in_steps
        shown = f'{rate:,.0f}' if rate >= 100 else f'{rate:.3g}'
        return f'{shown} images/s, {done}, {left} left'
