"""Trains a model with Keras `fit`, from the last checkpoint on if there is one."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from absl import logging

from drl_tf.base.errors import DivergenceError, UserError, one_line
from drl_tf.config import combinations, objectives
from drl_tf.config.config import Config
from drl_tf.core.weights import Weights
from drl_tf.data import indexed
from drl_tf.distributed import devices
from drl_tf.report import pages
from drl_tf.runs import workdirs
from drl_tf.runs.run_directory import METRICS, Run, opened
from drl_tf.training import callbacks, exact, measured_options, other_run, resume, rollbacks
from drl_tf.training.batches import broken_picture, prepare_images, show_batches, training_batches
from drl_tf.training.optimizers import compiled_model
from drl_tf.training.page import Page
from drl_tf.training.progress import ProgressBar, Stopwatch
from drl_tf.training.signals import Signals
from drl_tf.training.stopping import StopAtEnd, TimeLimit

if TYPE_CHECKING:
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood

_LOOK_EVERY = 10  # Steps between checks for divergence; a check also comes before anything is written.


def train(
    config: Config,
    workdir: str,
    init_from: str | None = None,
    weights: Weights = Weights.EMA,
    restart: bool = False,
) -> dict[str, str]:
    """Trains a model, or resumes its training.

    With the option energy='exact', the training images are stored and nothing is trained.

    Only one process at a time may use a workdir. With several workers, only the chief (the first worker)
    writes to the workdir.

    Args:
      config: the configuration. If a loss compares log densities, training computes in float32 whatever its
        option `precision` says.
      workdir: directory for checkpoints, samples and logs. If it holds a run, this run is resumed.
      init_from: the directory of a trained run or of an exported model; a new run starts from its weights.
        None: random weights.
      weights: which weights of `init_from` to take: 'ema' (averages) or 'raw'.
      restart: whether to begin a new run even if the workdir holds one; the old run is moved to <workdir>.1
        (or .2, ...).

    Returns:
      Lines to print, {label: text}: the last step, the paths of the files, and the time.

    Raises:
      UserError: the workdir is in use or holds a run of another configuration, `init_from` does not fit, or a
        file of the dataset is missing or damaged.
      DivergenceError: the loss is not finite or too large, and going back to earlier checkpoints did not
        help.
      Interrupted: SIGINT or SIGTERM came; training finished the current step and saved a checkpoint.

    Example:
      train(config, 'runs/digits')
    """
    if objectives.compares_densities(config):
        config = config.replace(precision='float32')
    if config.network.energy != 'exact':
        replicas = devices.strategy().num_replicas_in_sync
        combinations.check_batch_size(config, replicas)
        combinations.check_replicas(config, replicas)
    if restart and init_from:
        other_run.check(config, init_from)
    prepare_images(config)
    with opened(workdir) as run:
        begins = restart or not run.steps()
        loaded = exact.load_images(config) if begins and config.network.energy == 'exact' else None
        kept = restart and run.put_aside(init_from)
        if kept:
            print(f'moved the run in {workdir} to {kept}')
        if config.network.energy == 'exact':
            return exact.store_images(config, workdir, run, loaded)
        config = measured_options.completed(config, workdir, init_from)
        page = Page(workdir)
        with page.at_end():
            return _train_with_rollbacks(Task(config, workdir, run, page, init_from, weights))


@dataclasses.dataclass(frozen=True)
class Task:
    """A training run: the configuration, the directory, and where the first weights come from.

    Attributes:
      config: the configuration.
      workdir: the run's directory.
      run: a `Run`, which reads and writes the files of the workdir. With several workers, it works on the
        chief (the first worker).
      page: a `Page`, a callback of training that writes the report on the run, `report.html`.
      init_from: directory of another run whose weights a new run takes; None: none.
      weights: which weights of `init_from` to take: 'ema' (averages) or 'raw'.
    """

    config: Config
    workdir: str
    run: Run
    page: Page
    init_from: str | None
    weights: Weights


def _train_with_rollbacks(task: Task) -> dict[str, str]:
    """Trains until an attempt succeeds, or `max_rollbacks` are used up; returns the result of `train`.

    Each attempt rebuilds the model and restores the last checkpoint.
    """
    options = task.config.training
    past = rollbacks.former(task.config, task.workdir, task.run)
    begin = time.monotonic()
    time_limit = TimeLimit(options.max_minutes * 60)
    stopwatch = Stopwatch()
    while True:
        try:
            places = _attempt(task, len(past), time_limit, stopwatch)
            total = time.monotonic() - begin
            share = stopwatch.seconds / total
            return {**places, 'time': f'{total:,.0f} s, {share:.0%} of it in training steps'}
        except DivergenceError as error:
            if len(past) >= options.max_rollbacks:
                raise DivergenceError(f'{error} (rolled back {len(past)} times)', error.step) from error
            task.run.step_back(past, error.step)
            past = [*past, error.step]
            scale = options.rollback_factor ** len(past)
            logging.warning(
                f'the energies diverged at step {error.step}: rollback {len(past)}, learning rates '
                f'times {scale:g}'
            )


def _attempt(task: Task, attempt: int, time_limit: TimeLimit, stopwatch: Stopwatch) -> dict[str, str]:
    """Builds the model, and trains it from the last checkpoint to the end; returns {label: text}."""
    config = task.config
    workdir = task.workdir
    options = config.training
    task.run.compare(config)
    with devices.strategy().scope():
        model = compiled_model(config, attempt)
        step = resume.starting_step(model, task.run, workdir, task.init_from, task.weights)
    # The run may resume at a step that is no multiple of the option. Then calls take fewer steps, so that
    # they still end where logs and checkpoints are written.
    model.steps_per_execution = math.gcd(options.steps_per_execution, step)
    images = training_batches(config, step)
    task.run.save_config(config)
    print(
        f'training {config.data.dataset} in {workdir}, from step {step:,} to {options.train_steps:,}',
        flush=True,
    )
    if step < options.train_steps or config.evaluation.evaluate_every:
        with _as_user_error(config):
            show_batches(images, config, step, workdir)
            _fit(task, model, images, step, (time_limit, stopwatch))
    return {
        'step': f'{model.step:,}',
        'checkpoints': workdirs.checkpoints(workdir),
        'sample grids': os.path.join(workdir, 'samples'),
        'metrics log': os.path.join(workdir, METRICS),
        'report': os.path.join(workdir, pages.PAGE),
        'TensorBoard': f'tensorboard --logdir={workdir}',
    }


def _fit(
    task: Task, model: RecoveryLikelihood, images: Any, step: int, clocks: tuple[TimeLimit, Stopwatch]
) -> None:
    """Runs Keras `fit`; raises `Interrupted` after a signal."""
    config = task.config
    options = config.training
    time_limit, stopwatch = clocks
    look_every = math.gcd(
        _LOOK_EVERY,
        options.log_every,
        options.grid_every,
        options.checkpoint_every,
        config.evaluation.evaluate_every,
    )
    with Signals() as signals, ProgressBar(config, step, look_every, time_limit, stopwatch) as bar:
        end = StopAtEnd(step, options.train_steps, time_limit, signals, look_every)
        actions = callbacks.in_order(model, task, step, end, (stopwatch, look_every))
        if step < options.train_steps:
            model.fit(
                images,
                steps_per_epoch=options.train_steps,
                shuffle=False,
                verbose=0,
                callbacks=[*actions, bar],
            )
        end.raise_if_asked(model.step)


@contextlib.contextmanager
def _as_user_error(config: Config) -> Iterator[None]:
    """Context manager: raises UserError for a damaged file of the dataset, or a picture that is gone."""
    try:
        yield
    except tf.errors.DataLossError as error:
        raise UserError(
            f'--dataset={config.data.dataset} has a damaged file ({one_line(error)}): remove and prepare it '
            'again; the same command then continues from the last checkpoint'
        ) from error
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
        # What `tf.data` says of an error of Python ends in its traceback.
        broken = broken_picture(config.data) if indexed.__file__ in str(error) else ''
        if not broken:
            raise
        raise UserError(
            f'--dataset={config.data.dataset} has a picture that can no longer be read ({broken}): put it '
            'back, or move it away; the same command then continues from the last checkpoint'
        ) from error
