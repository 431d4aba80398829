"""How far training is: a bar with rate and time left, and the time spent in steps."""

import math
import sys
import time

import keras
import tqdm

from drl_tf.distributed import workers

_BAR = '{desc}{percentage:3.0f}%|{bar:20}|'


class Stopwatch(keras.callbacks.Callback):
    """Time spent in training steps, but for the first, which compiles; its place is behind the callback that
    waits for the device.

    Attributes:
      seconds: float.
    """

    def __init__(self):
        super().__init__()
        self.seconds = 0.0
        self.begin = None

    def on_train_batch_begin(self, batch, logs=None):
        self.begin = time.monotonic() if batch else None

    def on_train_batch_end(self, batch, logs=None):
        if self.begin:
            self.seconds += time.monotonic() - self.begin


class ProgressBar(keras.callbacks.Callback):
    """Context manager and callback: shows the steps done, images a second, time left, and the loss every
    `look_every` steps, when it is there without waiting.

    The first step compiles: until it is done the bar says so. Rate and time left are of the steps since.

    Args:
      config: a `Config`.
      first_step: where training begins.
      look_every: steps between looks at the loss.
      time_limit: a `TimeLimit`, where training ends if that is before the last step.
      clock: callable, seconds.
    """

    def __init__(self, config, first_step, look_every, time_limit, clock=time.monotonic):
        super().__init__()
        self.options = config.training
        self.first_step = first_step
        self.look_every = look_every
        self.time_limit = time_limit
        self.clock = clock
        self.begin = clock()
        self.compiled = None  # Step and time at the end of the first call, from which the rate counts.
        self.loss = ''
        self.bar = None

    def __enter__(self):
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

    def __exit__(self, *error):
        self.bar.close()

    def on_train_begin(self, logs=None):
        self.bar.set_description_str('compiling ')

    def on_train_batch_end(self, batch, logs=None):
        step, now = self.first_step + batch + 1, self.clock()
        self.compiled = self.compiled or (step, now)
        if step % self.look_every == 0:
            self.loss = f', loss {logs["loss"]:.4f}'
        self.bar.set_description_str(f'step {step:,} ', refresh=False)
        self.bar.bar_format = f'{_BAR} {self._times(step, now)}{self.loss}'
        self.bar.update(step * self.options.batch_size - self.bar.n)

    def _times(self, step, now):
        """Rate, time done and time left, in words; sets the bar's end to where the time limit comes."""
        first, begin = self.compiled
        done = f'{tqdm.tqdm.format_interval(now - self.begin)} done'
        if step == first or now <= begin:
            return done
        seconds = (now - begin) / (step - first)
        last = self.options.train_steps
        if self.options.max_minutes:
            last = max(step, min(last, step + math.ceil(self.time_limit.left() / seconds)))
        self.bar.total = last * self.options.batch_size
        left = tqdm.tqdm.format_interval((last - step) * seconds)
        rate = self.options.batch_size / seconds
        return f'{rate:{",.0f" if rate >= 100 else ".3g"}} images/s, {done}, {left} left'
