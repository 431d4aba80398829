"""Sampling from a trained model into files."""

import os

from drl_tf.base.errors import UserError
from drl_tf.config import config as configuration
from drl_tf.config.options import text
from drl_tf.core import noise
from drl_tf.distributed import devices, workers
from drl_tf.runs import checkpoint, pictures, samples

_TRAJECTORY_ROWS, _GRID_IMAGES = 8, 400


def generate(config, workdir, num_samples, weights='ema', step=None, label=-1, compose=None, first=0):
    """Samples a trained model: a grid of the first images and a trajectory as PNG, all images in shards (see
    `samples.draw`).

    Args:
      config: a `Config`; its seed, K, noise scale, guidance and batch size are those of the sampling.
      workdir: the directory of the run.
      num_samples: how many images.
      weights: 'ema' or 'raw'.
      step: which checkpoint; the newest where None.
      label, compose, first: as in `samples.draw`; a product of experts has no guidance.

    Returns:
      Where things are, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: there is no sound checkpoint, or no such class, or the samples are not finite.
    """
    chosen = compose[0] if compose else (label,) if label >= 0 else ()
    check_classes(config, chosen, 'labels' if compose else 'label')
    config = config.replace(guidance=0.0) if compose else config
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, step)
    classes = f'class{label}' if chosen else ''
    if compose:
        classes = 'compose' + '-'.join(
            f'{c}' if w == 1 else f'{c}x{w:g}' for c, w in zip(*compose, strict=True)
        )
    names = (file_stem(config, workdir, step, weights, num_samples), classes, f'from{first}' if first else '')
    root = os.path.join(workdir, 'samples', '-'.join(filter(None, names)))
    seed, rows = (
        config.training.seed,
        min(num_samples, config.sampling.sample_batch_size if config.planar else _TRAJECTORY_ROWS),
    )
    states = samples.draw(model, root, num_samples, seed, step, weights, label, compose, first)

    def show():
        terms = samples.terms_of(config, first, rows, label, compose)
        trajectory = states or model.sample(rows, [seed, noise.SAMPLING], first, weights, terms)
        images = samples.first_images(
            root, config.image_shape, num_samples if config.planar else _GRID_IMAGES
        )
        pictures.save_png(
            f'{root}.png',
            pictures.square(images) if chosen else pictures.grid(images, config.data.num_classes),
        )
        pictures.save_png(f'{root}-trajectory.png', pictures.trajectory(trajectory, rows))
        return {
            'grid': f'{root}.png',
            'trajectory': f'{root}-trajectory.png',
            f'{num_samples:,} images': root,
        }

    return workers.by_chief(show)


def file_stem(config, workdir, step, weights, num_samples):
    """A name that tells what was sampled: the step, the weights, how many, the seed, and what differs from
    the run's configuration."""
    pairs = zip(config.options(), configuration.load(workdir).options(), strict=True)
    free = ('sampling', 'always')
    changed = [
        (field, mine)
        for (field, mine), (_, theirs) in pairs
        if mine != theirs and field.metadata['changes'] in free
    ]
    unnamed = ('seed', 'data_dir', 'sample_batch_size', 'deterministic')
    kept = [field.name + text(mine) for field, mine in changed if field.name not in unnamed]
    return '-'.join([f'{step:08d}', weights, str(num_samples), f'seed{config.training.seed}', *kept])


def check_classes(config, classes, flag):
    """Raises UserError, in the name of the flag that asked for them, where the model has no such classes."""
    count = config.data.num_classes
    for wanted in classes:
        if not count:
            raise UserError(f'--{flag}={wanted}: the model has no classes; train one with --num_classes=-1')
        if not 0 <= wanted < count:
            raise UserError(f'--{flag}={wanted} must be from 0 to {count - 1}')
