"""What happens during training besides the steps: each action is called with (step, logs) and does one
thing."""

import json
import math
import os
import shutil
import signal
import sys
import threading
import time

import keras
import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from drl_tf.base.errors import DivergenceError, Interrupted
from drl_tf.base.files import named, write_json, written_aside
from drl_tf.distributed import workers
from drl_tf.evaluation.evaluate import Evaluator
from drl_tf.runs import checkpoint, drawing, pictures, samples
from drl_tf.runs.request import SampleRequest

_GRID_IMAGES, _GRID_POINTS = 100, 4096
_KIND = ('num_samples', 'extractor_hash', 'real')


def grid_images(config):
    """How many images a grid shows."""
    return _GRID_POINTS if config.planar else _GRID_IMAGES


class Periodic(keras.callbacks.Callback):
    """Calls `action(step, logs)` after every `every` steps, after the last one and, with `at_stop`, where
    training ends before it.

    Steps are counted here from `first_step`: to ask the device would be to wait for it. Where a call of Keras
    is of several steps, their number divides `every`.
    """

    def __init__(self, every, first_step, last_step, action, at_stop=True):
        super().__init__()
        self.every, self.first_step, self.last_step, self.action, self.at_stop = (
            every,
            first_step,
            last_step,
            action,
            at_stop,
        )

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        if step % self.every == 0 or step == self.last_step or (self.at_stop and self.model.stop_training):
            self.action(step, logs)


class TimeLimit:
    """Seconds from the first call of `is_up` after which it says True; 0 is no limit."""

    def __init__(self, seconds):
        self.seconds, self.start = seconds, None

    def is_up(self):
        self.start = self.start or time.monotonic()
        return bool(self.seconds) and time.monotonic() - self.start > self.seconds


class StopAtEnd(keras.callbacks.Callback):
    """Ends training after the last step, when its time is up, or on SIGINT or SIGTERM.

    The steps at hand are finished and saved; a second signal ends the process at once. Several workers ask
    each other every `ask_every` steps, so that all of them end at the same one, whichever got the signal.
    (The handler that tf.distribute has for this needs workers that are within one step of each other, and
    knows SIGTERM alone.)

    Attributes:
      signal: the number of the signal that came to this worker, or None.
    """

    def __init__(self, first_step, last_step, time_limit, ask_every=1):
        super().__init__()
        self.first_step, self.last_step, self.time_limit, self.ask_every = (
            first_step,
            last_step,
            time_limit,
            ask_every,
        )
        self.signal, self.former = None, {}

    def open(self):
        """Has the signals noted from now on."""
        if threading.current_thread() is threading.main_thread():
            self.former = {
                number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def _stop(self, number, frame):
        if self.signal:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number

    def raise_if_asked(self, step):
        """Raises the error that ends a run on the signal that came to any worker, once a step is saved."""
        number = next(filter(None, workers.exchange(self.signal)), None)
        if number:
            name = signal.Signals(number).name
            raise Interrupted(
                f'{name} came: saved at step {step}, where the same command (without --restart) goes on',
                number,
            )

    def close(self):
        """Gives the signals their former meaning back."""
        for number, former in self.former.items():
            signal.signal(number, former)

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch + 1
        if step >= self.last_step or (
            step % self.ask_every == 0 and any(workers.exchange(self.time_limit.is_up() or bool(self.signal)))
        ):
            self.model.stop_training = True


class Stopwatch(keras.callbacks.Callback):
    """Time spent in training steps, but for the first, which compiles; its place is behind the callback that
    waits for the device.

    Attributes:
      seconds: float.
    """

    def __init__(self):
        super().__init__()
        self.seconds, self.begin = 0.0, None

    def on_train_batch_begin(self, batch, logs=None):
        self.begin = time.monotonic() if batch else None

    def on_train_batch_end(self, batch, logs=None):
        if self.begin:
            self.seconds += time.monotonic() - self.begin


class ProgressBar(keras.callbacks.Callback):
    """Steps done, loss (every `look_every` steps, when it is there without waiting), images a second and time
    left."""

    def __init__(self, config, first_step, look_every):
        super().__init__()
        self.options, self.first_step, self.step, self.look_every = (
            config.training,
            first_step,
            first_step,
            look_every,
        )
        batch = self.options.batch_size
        self.bar = tqdm.tqdm(
            total=self.options.train_steps * batch, initial=first_step * batch, unit=' images',
            dynamic_ncols=True,
            mininterval=1 if sys.stderr.isatty() else 30, disable=not workers.is_chief(),
            bar_format='{desc}{percentage:3.0f}%|{bar:20}| {rate_fmt}, {elapsed} done, {remaining} '
                       'left{postfix}',
        )  # fmt: skip

    def on_train_batch_end(self, batch, logs=None):
        steps = self.first_step + batch + 1 - self.step
        self.step += steps
        options, elapsed = self.options, self.bar.format_dict['elapsed']
        if options.max_minutes and elapsed > 0:
            in_time = self.first_step + (self.step - self.first_step) * options.max_minutes * 60 / elapsed
            self.bar.total = max(self.step, min(options.train_steps, math.ceil(in_time))) * options.batch_size
        self.bar.set_description_str(f'step {self.step:,} ', refresh=False)
        if self.step % self.look_every == 0:
            self.bar.set_postfix_str(f'loss {logs["loss"]:.4f}', refresh=False)
        self.bar.update(steps * options.batch_size)

    def close(self):
        """Ends the line, also where training ends early."""
        self.bar.close()


def stop_on_divergence(model, workdir):
    """An action that raises `DivergenceError` where there was a bad step, see
    `RecoveryLikelihood.first_bad_step`.

    What the levels looked like since the last line of the log is then in `diverged-<step>.json`.
    """

    def check(step, logs):
        bad = workers.told_by_chief(lambda: int(model.first_bad_step.read_value()))
        if bad < 0:
            return
        record, options = os.path.join(workdir, f'diverged-{bad}.json'), model.config.training
        seen = {'step': bad, 'seen_at': step, **_numbers(logs), **_by_level(model)}
        workers.by_chief(lambda: write_json(record, seen))
        raise DivergenceError(
            f'the energies ran away at step {bad} (seen at {step}: loss {logs["loss"]:.4g}, gradient norm '
            f'{logs["gradient_norm"]:.4g}, '
            f'--max_loss={options.max_loss:g}; {record}): start a new --workdir with a lower '
            '--learning_rate, --clip_norm=1, '
            '--shared_noise or a larger --energy_l2',
            bad,
        )

    return check


def _number(value):
    """A number for JSON, which has no NaN: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def _numbers(logs):
    return {name: _number(value) for name, value in logs.items()}


def _by_level(model):
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
        workers.by_chief(lambda: _drop_lines_after(self.path, first_step))
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
            **_numbers(logs),
            **_by_level(self.model),
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


class Scores:
    """An action that scores samples of the averaged weights, and keeps the checkpoint of the lowest Fréchet
    distance.

    Each score is a line of `evaluations.jsonl`; lines of steps after `first_step` are dropped first, as in
    `MetricsLog`. A signal ends the run between two parts of the sampling: the step is saved, the samples
    stay, and it is scored when the run goes on.
    """

    def __init__(self, model, workdir, first_step, log, end):
        self.model, self.workdir, self.log, self.end, self.options = (
            model,
            workdir,
            log,
            end,
            model.config.evaluation,
        )
        self.directory = os.path.join(workdir, 'evaluation')
        self.evaluator = Evaluator(model.config, os.path.join(self.directory, 'parts'))
        self.path = os.path.join(workdir, 'evaluations.jsonl')
        workers.by_chief(lambda: _drop_lines_after(self.path, first_step))

    def catch_up(self, step):
        """Scores the step that training goes on from, where that was due and was interrupted."""
        due = step and (
            step % self.options.evaluate_every == 0 or step == self.model.config.training.train_steps
        )
        if due and workers.told_by_chief(self._last_step) < step:
            self(step)

    def _last_step(self):
        if not os.path.exists(self.path):
            return 0
        with open(self.path, encoding='utf-8', errors='replace') as file:
            return max(map(_step_of, file), default=0)

    def __call__(self, step, logs=None):
        if step not in workers.told_by_chief(lambda: checkpoint.steps(self.workdir)):
            checkpoint.save(self.model, self.workdir)
        root = os.path.join(self.directory, f'samples-{step:08d}')
        request = SampleRequest.of(self.model.config, self.options.evaluate_samples, step=step)
        with self.model.converged_average():
            drawing.draw(self.model, root, request, after_part=lambda: self.end.raise_if_asked(step))
        drawn = self._until_signal(samples.read(root, self.model.config.image_shape), step)
        score = self.evaluator.score(drawn, self.options.evaluate_samples, labelled=True)
        workers.by_chief(lambda: self._keep(root, step, score))

    def _keep(self, root, step, score):
        """Writes down a score, and keeps its checkpoint where it is the best."""
        self._keep_best(step, {key: score[key] for key in (self.evaluator.name, *_KIND)})
        self.log.write(self.path, {'step': step, 'time': time.time(), **score}, 'evaluation/')
        shutil.rmtree(root)

    def _keep_best(self, step, measure):
        """Keeps the checkpoint where it is the best of its kind of score; the best one of another kind is put
        aside."""
        best, name = checkpoint.best_score(self.workdir), self.evaluator.name
        if best and (
            not isinstance(best.get(name), (int, float))
            or any(measure[key] != best.get(key) for key in _KIND)
        ):
            aside = checkpoint.put_best_aside(self.workdir)
            logging.warning(
                'the best checkpoint so far, of other samples or real images, is now in %s', aside
            )
            best = None
        if best is None or measure[name] < best[name]:
            checkpoint.keep_best(self.workdir, step, measure)

    def _until_signal(self, batches, step):
        for batch in batches:
            self.end.raise_if_asked(step)
            yield batch


def _drop_lines_after(path, step):
    """Removes the lines of later steps from a log, which a run that was interrupted has left there."""
    if os.path.exists(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            kept = [line for line in file if _step_of(line) <= step]
        with written_aside(path) as file:
            file.writelines(kept)


def _step_of(line):
    """The step of a line of the log; infinite where the line is damaged."""
    try:
        return int(json.loads(line)['step']) if line.endswith('\n') else math.inf
    except (ValueError, KeyError, TypeError, RecursionError):
        logging.warning('a damaged line of the metrics log is dropped: %.80r', line)
        return math.inf


def _scalars(line):
    """Flattens a line of the log into (name, number), one per level where a value has one."""
    for name, value in line.items():
        if isinstance(value, list):
            yield from ((f'{name}/{t}', number) for t, number in enumerate(value) if number is not None)
        elif name not in ('step', 'time') and isinstance(value, float):
            yield name, value


def sample_grid(model, workdir, log):
    """An action that writes `samples/<step>.png` from the averaged weights."""

    def write(step, logs):
        with model.converged_average():
            request = SampleRequest.of(model.config, grid_images(model.config))
            images = np.concatenate(list(drawing.batches(model, request)))
        workers.by_chief(lambda: show(step, pictures.grid(images, model.config.data.num_classes)))

    def show(step, cells):
        pictures.save_png(os.path.join(workdir, 'samples', f'{step:08d}.png'), cells)
        log.grid(step, cells)

    return write
