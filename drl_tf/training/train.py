"""Training: Keras `fit` under a strategy, resumed from the last checkpoint of the workdir."""

import dataclasses
import functools
import json
import math
import os
import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from drl_tf.base.errors import DivergenceError, UserError, one_line
from drl_tf.base.files import LOCK, put_aside, write_json
from drl_tf.config import config as configuration
from drl_tf.core.cooperative import build_model
from drl_tf.core.optimizer import SummedAdam
from drl_tf.core.weights import Weights
from drl_tf.data import pipeline
from drl_tf.distributed import devices, workers
from drl_tf.runs import authors_checkpoint, checkpoint, exported, pictures
from drl_tf.training import callbacks

_ROLLBACKS = 'rollbacks.json'
_LOOK_EVERY = 10  # Steps between looks at what the device found; all that is written is written after one.


class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `steps`, `ahead` of which count as done, then stays."""

    def __init__(self, peak, steps, ahead=1):
        self.peak, self.steps, self.ahead = peak, steps, ahead

    def __call__(self, step):
        return self.peak * tf.minimum(1.0, (tf.cast(step, tf.float32) + self.ahead) / max(1, self.steps))

    def get_config(self):
        return {'peak': self.peak, 'steps': self.steps, 'ahead': self.ahead}


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
        kept = restart and workers.told_by_chief(lambda: _put_run_aside(workdir, init_from))
        if kept:
            print(f'the run that was in {workdir} is now in {kept}')
        return _train(config, workdir, init_from, weights)


def import_official(config, workdir, prefix, weights='model_ema'):
    """Begins a run with a network of the authors' code, which is what it trains and what it averages; its
    optimizer is fresh.

    Args:
      config: a `Config` with the options of that network, see `official.options`.
      workdir: a directory that holds no run.
      prefix: path of the authors' checkpoint, with or without `.index`.
      weights: 'model_ema' or 'model' (the raw ones).

    Returns:
      What there is, as {label: text}.

    Raises:
      UserError: the workdir holds a run or is in use, or the checkpoint is damaged or of another network.
    """
    model = compiled_model(config)
    iteration = authors_checkpoint.load_weights(model.network, prefix, weights)
    model.ema_network.set_weights(model.network.get_weights())
    with workers.held(workdir):
        if checkpoint.steps(workdir) or os.path.exists(os.path.join(workdir, configuration.FILE_NAME)):
            raise UserError(
                f'--workdir={workdir} holds a run: give another for --official_checkpoint={prefix}'
            )
        checkpoint.save(model, workdir)
        config.save(workdir)
        origin = {
            'official_checkpoint': os.path.abspath(prefix),
            'official_weights': weights,
            'iteration': iteration,
        }
        write_json(os.path.join(workdir, authors_checkpoint.ORIGIN), origin)
    data, network = config.data, config.network
    return {
        'imported': f'{weights} of {prefix}' + ('' if iteration is None else f', at iteration {iteration:,}'),
        'network': f'{model.network.count_params():,} weights for {data.image_size} px, '
        f'{data.image_channels} channels',
        'taken to be': f'--act={network.act} --final_act={network.final_act} '
        f'--num_levels={config.diffusion.num_levels}',
        'run': f'{workdir}, at step 0 with a fresh optimizer; its dataset is {data.dataset}',
    }


def _put_run_aside(workdir, init_from):
    """Moves the run that is in the workdir to a directory beside it, and returns that; None where the workdir
    is empty."""
    if init_from and os.path.realpath(init_from) == os.path.realpath(workdir):
        raise UserError(f'--restart with --init_from={init_from}, the same directory: give another --workdir')
    others = set(os.listdir(workdir)) - {LOCK, 'config.json', 'checkpoints'}
    if others and not os.path.exists(os.path.join(workdir, 'config.json')) and not checkpoint.steps(workdir):
        raise UserError(
            f'--workdir={workdir} holds no run but {", ".join(sorted(others))[:100]}: give another for '
            '--restart'
        )
    return put_aside(workdir)


def _train(config, workdir, init_from, weights):
    """Attempts to train until one ends, or `max_rollbacks` are used up; each goes on from the last
    checkpoint."""
    options, rollbacks = config.training, workers.told_by_chief(lambda: _rollbacks(workdir))
    begin, time_limit, stopwatch = (
        time.monotonic(),
        callbacks.TimeLimit(options.max_minutes * 60),
        callbacks.Stopwatch(),
    )
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
            workers.by_chief(functools.partial(_step_back, workdir, rollbacks, error.step))
            rollbacks = [*rollbacks, error.step]
            scale = options.rollback_factor ** len(rollbacks)
            logging.warning(
                f'the energies ran away at step {error.step}: rollback {len(rollbacks)}, learning rates '
                f'times {scale:g}'
            )


def _step_back(workdir, rollbacks, step):
    """Notes a further rollback; puts the newest checkpoint aside where an earlier one went back to it or
    before.

    By then the run was on its way out.
    """
    present = checkpoint.steps(workdir)
    if len(present) > 1 and any(step > present[-1] for step in rollbacks):
        checkpoint.set_aside_after(workdir, present[-2], 'diverged')
    write_json(os.path.join(workdir, _ROLLBACKS), [*rollbacks, step])


def _rollbacks(workdir):
    """The steps at which the run diverged so far; noted in the workdir, so that a rerun draws and learns as
    the run did."""
    path = os.path.join(workdir, _ROLLBACKS)
    if not os.path.exists(path):
        return []
    try:
        with open(path, encoding='utf-8') as file:
            return [int(step) for step in json.load(file)]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f'{path} is damaged ({error}): remove it to train with full learning rates, or --restart'
        ) from error


def _attempt(config, workdir, init_from, weights, time_limit, stopwatch, attempt):
    """Builds the model and trains it from where the workdir stands to its end."""
    options, strategy = config.training, devices.strategy()
    replicas, parts = strategy.num_replicas_in_sync, options.microbatches
    if options.batch_size % (replicas * parts):
        each = f', times --microbatches={parts}' if parts > 1 else ''
        raise UserError(f'--batch_size={options.batch_size} must divide by the {replicas} devices{each}')
    workers.by_chief(lambda: _compare(config, workdir))
    with strategy.scope():
        model = compiled_model(config, attempt)
        step = _starting_step(model, config, workdir, init_from, weights)
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
            workers.by_chief(lambda: _show_data(shown or _images(config, step), config, workdir))
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


def compiled_model(config, attempt=0):
    """The model of a configuration with its optimizers, ready for `fit` or for a checkpoint; its weights
    start from the seed."""
    keras.utils.set_random_seed(config.training.seed)
    return compile_model(build_model(config, attempt))


def compile_model(model):
    """Gives a model the optimizers of its configuration, which start anew, and returns it.

    Each of the rollbacks that its attempt stands for has lowered the learning rates. The initializer's
    warm-up starts a twentieth of the way up (the paper: (n + 500) / 10,000).
    """
    config, options = model.config, model.config.training
    scale = options.rollback_factor**model.attempt
    rate = LinearWarmup(scale * options.learning_rate, options.warmup_steps)
    adam = SummedAdam(rate, beta_1=options.adam_beta1, name='adam')
    model.compile(adam, jit_compile=devices.jit_compile(), steps_per_execution=options.steps_per_execution)
    model.optimizer.build(model.network.trainable_variables)
    if config.diffusion.initializer:
        peak = scale * config.initializer.initializer_learning_rate
        rate = LinearWarmup(peak, options.warmup_steps, ahead=options.warmup_steps // 20 or 1)
        model.initializer_optimizer = SummedAdam(rate, name='initializer_adam')
        model.initializer_optimizer.build(model.initializer.trainable_variables)
    return model


def _compare(config, workdir):
    """Refuses another configuration than that of the run that was begun in the workdir; says which harmless
    options differ."""
    if exported.source(workdir):
        raise UserError(
            f'--workdir={workdir} uses an exported model: give another, and --init_from={workdir} to start '
            'from its weights'
        )
    if not checkpoint.steps(workdir):
        return
    stored, harmless = configuration.load(workdir), ('resume', 'always', 'scores')
    differences = config.differences(stored, lambda field: field.metadata['changes'] not in harmless)
    if differences:
        raise UserError(
            f'--workdir={workdir} holds another run ({"; ".join(differences)}): give the same flags, or '
            'another --workdir'
        )
    changes = config.differences(stored, lambda field: field.metadata['changes'] in harmless)
    if changes:
        print(f'changed: {"; ".join(changes)}')


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
    end, bar = (
        callbacks.StopAtEnd(step, options.train_steps, time_limit, ask_every),
        callbacks.ProgressBar(config, step, look_every),
    )
    try:
        actions = _callbacks(model, config, workdir, step, end, stopwatch, look_every)
        end.open()
        if step < options.train_steps:
            model.fit(
                images,
                steps_per_epoch=options.train_steps,
                shuffle=False,
                verbose=0,
                callbacks=[*actions, bar],
            )
    finally:
        bar.close()
        end.close()
    end.raise_if_asked(model.step)


def _starting_step(model, config, workdir, init_from, weights):
    """Restores the last checkpoint, or takes another run's weights, or starts at 0."""
    if workers.told_by_chief(lambda: bool(checkpoint.steps(workdir))):
        step = checkpoint.restore(model, workdir)
        workers.by_chief(lambda: checkpoint.set_aside_after(workdir, step, 'damaged'))
        print(f'resuming at step {step}')
        changed = workers.by_chief(lambda: checkpoint.changed_surroundings(model, workdir, step))
        if changed:
            logging.warning(
                'this run will not end with the bits of an uninterrupted one: %s', '; '.join(changed)
            )
        return step
    if init_from:
        other = configuration.load(init_from)
        of_network = {'image_size', 'image_channels', 'num_classes', 'initializer'}
        of_network |= {
            field.name
            for group in (config.network, config.initializer)
            for field in dataclasses.fields(group)
        }
        of_network -= {
            'dropout',
            'initializer_dropout',
            'initializer_learning_rate',
            'initializer_level_weight',
            'initializer_data_share',
        }
        differences = config.differences(other, lambda field: field.name in of_network)
        if differences:
            raise UserError(f'--init_from={init_from} has another network: {"; ".join(differences)}')
        source, step = checkpoint.load_model(init_from, other)
        for mine, theirs in zip(model.averages, source.averages, strict=True):
            for network in mine:
                network.set_weights(Weights(weights).of(*theirs).get_weights())
        print(f'starting from the {weights} weights of {init_from} at step {step}')
    return 0


def _show_data(batches, config, workdir):
    """Writes `samples/data.png`, a grid of what the model learns from."""
    images = batches.map(lambda images, *labels: images).unbatch().take(callbacks.grid_images(config))
    pictures.save_png(
        os.path.join(workdir, 'samples', 'data.png'), pictures.square(pictures.kept(np.stack(list(images))))
    )


def _callbacks(model, config, workdir, step, end, stopwatch, look_every):
    """In order: note whether to stop, end before anything is written from a bad state, time, log, draw, save,
    score.

    The log, whose means the checkpoints carry on, has no line for a step where training was merely
    interrupted.
    """
    options, log = config.training, callbacks.MetricsLog(model, workdir, step, config.training.batch_size)

    def periodic(every, action, at_stop=True):
        return callbacks.Periodic(every, step, options.train_steps, action, at_stop)

    actions = [
        end,
        periodic(look_every, callbacks.stop_on_divergence(model, workdir)),
        stopwatch,
        periodic(options.log_every, log, at_stop=False),
        periodic(options.grid_every, callbacks.sample_grid(model, workdir, log)),
        periodic(options.checkpoint_every, lambda step, logs: checkpoint.save(model, workdir)),
    ]
    if config.evaluation.evaluate_every:
        scores = callbacks.Scores(model, workdir, step, log, end)
        end.open()
        scores.catch_up(step)
        actions.append(periodic(config.evaluation.evaluate_every, scores, at_stop=False))
    return actions
