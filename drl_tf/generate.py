"""Sampling from a trained model into files."""

import os
import sys

import numpy as np
import tensorflow as tf
import tqdm

from drl_tf import checkpoint, noise, report
from drl_tf import config as configuration
from drl_tf.errors import UserError
from drl_tf.files import written_aside
from drl_tf.model import UNCONDITIONAL, composed, guided

_TRAJECTORY_ROWS = 8


def labels_in_turn(config, first, count, label=-1):
    """Classes of images `first`, `first` + 1, ...: each in turn, or all of one class; int32 [count] from 1."""
    if label >= 0:
        return tf.fill([count], label + 1)
    return tf.range(first, first + count) % config.data.num_classes + 1


def sample_images(model, num_samples, seed, weights='ema', label=-1, compose=None, show=True):
    """Draws images a batch at a time; image i depends on (seed, i) alone.

    Args:
      model: a `RecoveryLikelihood`.
      num_samples: how many.
      seed: an int.
      weights: 'ema' or 'raw'.
      label: the class of all images, from 0; -1 takes the classes in turn. Only for models with classes.
      compose: None, or the pair (classes from 0, their weights) of a product of experts.
      show: whether to show progress.

    Returns:
      Images uint8 [num_samples, H, W, C], and the states of the first batch, [x_T, ..., x_0].
    """
    config = model.config
    batch = min(num_samples, config.sampling.sample_batch_size)

    def terms(first):
        if compose:
            return composed([tf.fill([batch], c + 1) for c in compose[0]], list(compose[1]))
        if config.data.num_classes:
            return guided(labels_in_turn(config, first, batch, label), config.sampling.guidance)
        return UNCONDITIONAL

    images, first_states = [], None
    interval = 1 if sys.stderr.isatty() else 30
    with tqdm.tqdm(total=num_samples, unit=' images', desc='sampling', mininterval=interval, disable=not show) as bar:
        for first in range(0, num_samples, batch):
            states = model.sample(batch, [seed, noise.SAMPLING], first, weights, terms(first))
            if not np.isfinite(states[-1]).all():
                raise UserError('the samples are not finite: lower --step_scale, --noise_scale or --guidance, or use another checkpoint')
            first_states = first_states or states
            images.append(report.to_uint8(states[-1]))
            bar.update(min(batch, num_samples - first))
    return np.concatenate(images)[:num_samples], first_states


def generate(config, workdir, num_samples, weights='ema', step=None, label=-1, compose=None):
    """Samples a trained model: a grid and a trajectory as PNG, all images as `.npz` (`images`, uint8 [n, H, W, C]).

    Args:
      config: a `Config`; its seed, K, noise scale, guidance and batch size are those of the sampling.
      workdir: the directory of the run.
      num_samples: how many images.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.
      label, compose: as in `sample_images`; a product of experts has no guidance.

    Returns:
      Where things are, as {label: text}.

    Raises:
      UserError: there is no sound checkpoint, or no such class, or the samples are not finite.
    """
    chosen = compose[0] if compose else (label,) if label >= 0 else ()
    check_classes(config, chosen, 'labels' if compose else 'label')
    config = config.replace(guidance=0.0) if compose else config
    model, step = checkpoint.load_model(workdir, config, step)
    images, states = sample_images(model, num_samples, config.training.seed, weights, label, compose)
    classes = f'class{label}' if chosen else ''
    if compose:
        classes = 'compose' + '-'.join(f'{c}' if w == 1 else f'{c}x{w:g}' for c, w in zip(*compose, strict=True))
    root = os.path.join(workdir, 'samples', '-'.join(filter(None, (file_stem(config, workdir, step, weights, num_samples), classes))))
    report.save_png(f'{root}.png', report.square(images) if chosen else report.grid(images, config.data.num_classes))
    report.save_png(f'{root}-trajectory.png', report.trajectory(states, _TRAJECTORY_ROWS))
    with written_aside(f'{root}.npz', 'wb') as file:
        np.savez_compressed(file, images=images)
    return {'grid': f'{root}.png', 'trajectory': f'{root}-trajectory.png', f'{num_samples:,} images': f'{root}.npz'}


def file_stem(config, workdir, step, weights, num_samples):
    """A name that tells what was sampled: the step, the weights, how many, the seed, and what differs from the run's configuration."""
    pairs = zip(config.options(), configuration.load(workdir).options(), strict=True)
    free = ('sampling', 'always')
    changed = [(field, mine) for (field, mine), (_, theirs) in pairs if mine != theirs and field.metadata['changes'] in free]
    unnamed = ('seed', 'data_dir', 'sample_batch_size')
    kept = [field.name + configuration.text(mine) for field, mine in changed if field.name not in unnamed]
    return '-'.join([f'{step:08d}', weights, str(num_samples), f'seed{config.training.seed}', *kept])


def check_classes(config, classes, flag):
    """Raises UserError, in the name of the flag that asked for them, where the model has no such classes."""
    count = config.data.num_classes
    for wanted in classes:
        if not count:
            raise UserError(f'--{flag}={wanted}: the model has no classes; train one with --num_classes=-1')
        if not 0 <= wanted < count:
            raise UserError(f'--{flag}={wanted} must be from 0 to {count - 1}')
