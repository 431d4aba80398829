"""Training: Keras `fit` under a strategy, resumed from the last checkpoint of the workdir."""

import functools
import math
import os
import time

import tensorflow as tf
from absl import logging

from drl_tf.base.errors import DivergenceError, UserError, one_line
from drl_tf.data import pipeline
from drl_tf.distributed import devices, workers
from drl_tf.runs import checkpoint, exported
from drl_tf.training import callbacks, grids, resume
from drl_tf.training.optimizers import compiled_model
from drl_tf.training.progress import ProgressBar, Stopwatch
from drl_tf.training.signals import Signals
from drl_tf.training.stopping import StopAtEnd, TimeLimit

_LOOK_EVERY = 10  # Steps between looks at what the device found; all that is written is written after one.


def train(config, workdir, init_from=None, weights='ema', restart=False):
    """Trains a model, or goes on training it. One run at a time has the workdir; of its workers the chief
    alone writes there.

    Args:
      config: a `Config`.
      workdir: where checkpoints, samples and logs go; a run that is there is resumed.
      init_from: the workdir of another run whose weights a new run starts from.
      weights: which of its weights, 'ema' or 'raw'.
      restart: puts a run that is there aside, as <workdir>.1 and so on, and begins anew.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: the workdir holds a run of another configuration or is in use, or `init_from` does not fit.
      DivergenceError: the loss is not finite or ran away.
      Interrupted: a signal came; the step at hand is done and saved.
    """
    workers.by_chief(lambda: pipeline.prepare(config.data))
    workers.everywhere(lambda: workers.is_chief() or pipeline.prepare(config.data))
    if init_from and not workers.told_by_chief(
        lambda: bool(checkpoint.steps(init_from) or exported.source(init_from))
    ):
        raise UserError(f'--init_from={init_from} holds no trained run')
    with workers.held(workdir):
        kept = restart and workers.told_by_chief(lambda: resume.put_run_aside(workdir, init_from))
        if kept:
            print(f'the run that was in {workdir} is now in {kept}')
        return _train(config, workdir, init_from, weights)


def _train(config, workdir, init_from, weights):
    """Attempts to train until one ends, or `max_rollbacks` are used up; each goes on from the last
    checkpoint."""
    options, rollbacks = config.training, workers.told_by_chief(lambda: resume.rollbacks(workdir))
    begin, time_limit, stopwatch = time.monotonic(), TimeLimit(options.max_minutes * 60), Stopwatch()
    while True:
        try:
            places = _attempt(config, workdir, init_from, weights, time_limit, stopwatch, len(rollbacks))
            total = time.monotonic() - begin
            return {
                **places,
                'time': f'{total:,.0f} s, {stopwatch.seconds / total:.0%} of it in training steps',
            }
        except DivergenceError as error:
            if len(rollbacks) >= options.max_rollbacks:
                raise DivergenceError(f'{error} (rolled back {len(rollbacks)} times)', error.step) from error
            workers.by_chief(functools.partial(resume.step_back, workdir, rollbacks, error.step))
            rollbacks = [*rollbacks, error.step]
            scale = options.rollback_factor ** len(rollbacks)
            logging.warning(
                f'the energies ran away at step {error.step}: rollback {len(rollbacks)}, learning rates '
                f'times {scale:g}'
            )


def _attempt(config, workdir, init_from, weights, time_limit, stopwatch, attempt):
    """Builds the model and trains it from where the workdir stands to its end."""
    options, strategy = config.training, devices.strategy()
    replicas, parts = strategy.num_replicas_in_sync, options.microbatches
    if options.batch_size % (replicas * parts):
        each = f', times --microbatches={parts}' if parts > 1 else ''
        raise UserError(f'--batch_size={options.batch_size} must divide by the {replicas} devices{each}')
    workers.by_chief(lambda: resume.compare(config, workdir))
    with strategy.scope():
        model = compiled_model(config, attempt)
        step = resume.starting_step(model, config, workdir, init_from, weights)
    if step % options.steps_per_execution:
        raise UserError(
            f'--steps_per_execution={options.steps_per_execution} must divide {step}, the step where '
            f'{workdir} goes on'
        )
    images = workers.everywhere(lambda: _images(config, step))
    workers.by_chief(lambda: config.save(workdir))
    print(
        f'training {config.data.dataset} in {workdir}, from step {step:,} to {options.train_steps:,}',
        flush=True,
    )
    if step < options.train_steps or config.evaluation.evaluate_every:
        try:
            shown = images if workers.count() == 1 else None
            workers.by_chief(lambda: grids.show_data(shown or _images(config, step), config, workdir))
            _fit(model, images, config, workdir, step, time_limit, stopwatch)
        except tf.errors.DataLossError as error:
            raise UserError(
                f'--dataset={config.data.dataset} has a damaged file ({one_line(error)}): remove and '
                'prepare it again; '
                'the same command then goes on from the last checkpoint'
            ) from error
    return {
        'step': f'{model.step:,}',
        'checkpoints': checkpoint.directory(workdir),
        'sample grids': os.path.join(workdir, 'samples'),
        'metrics log': os.path.join(workdir, 'metrics.jsonl'),
        'TensorBoard': f'tensorboard --logdir={workdir}',
    }


def _images(config, step):
    """Batches of training images from a step on: all of each batch, or within several workers a dataset for
    `fit` of this worker's."""
    data, batch, seed, strategy = (
        config.data,
        config.training.batch_size,
        config.training.seed,
        devices.strategy(),
    )
    if workers.count() == 1:
        return pipeline.training_images(data, batch, seed, step)

    def of_worker(context):
        share, index = batch // context.num_input_pipelines, context.input_pipeline_id
        rows = slice(index * share, (index + 1) * share)
        return pipeline.training_images(data, batch, seed, step, rows, batch // context.num_replicas_in_sync)

    return strategy.distribute_datasets_from_function(of_worker)


def _fit(model, images, config, workdir, step, time_limit, stopwatch):
    """Runs Keras `fit`; raises `Interrupted`, with where to go on, when a signal ended it."""
    options = config.training
    look_every = math.gcd(
        _LOOK_EVERY,
        options.log_every,
        options.grid_every,
        options.checkpoint_every,
        config.evaluation.evaluate_every,
    )
    ask_every = 1 if workers.count() == 1 else look_every
    with Signals() as signals, ProgressBar(config, step, look_every, time_limit) as bar:
        end = StopAtEnd(step, options.train_steps, time_limit, signals, ask_every)
        actions = callbacks.in_order(model, workdir, step, end, (stopwatch, look_every))
        if step < options.train_steps:
            model.fit(
                images,
                steps_per_epoch=options.train_steps,
                shuffle=False,
                verbose=0,
                callbacks=[*actions, bar],
            )
        end.raise_if_asked(model.step)
