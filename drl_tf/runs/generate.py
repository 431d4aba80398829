"""Sampling from a trained model into files."""

import dataclasses
import os

from drl_tf.base.errors import UserError
from drl_tf.distributed import devices, workers
from drl_tf.runs import checkpoint, drawing, pictures, samples
from drl_tf.runs.naming import set_name

_TRAJECTORY_ROWS = 8
_GRID_IMAGES = 400


def generate(config, workdir, request):
    """Samples a trained model: a grid of the first images and a trajectory as PNG, all images in shards.

    Args:
      config: a `Config`; its K, noise scale and batch size are those of the sampling.
      workdir: the directory of the run.
      request: a `SampleRequest`.

    Returns:
      Where things are, as {label: text}, to the chief; None to other workers.

    Raises:
      UserError: there is no sound checkpoint, or no such class, or the samples are not finite.
    """
    check_classes(config, request.labels, 'labels' if request.label_weights else 'label')
    with devices.strategy().scope():
        model, step = checkpoint.load_model(workdir, config, request.step)
    request = dataclasses.replace(request, step=step)
    root = os.path.join(workdir, 'samples', set_name(config, workdir, request))
    states = drawing.draw(model, root, request)
    return workers.by_chief(lambda: _show(model, root, request, states))


def _show(model, root, request, states):
    """Writes the grid and the trajectory of a set; returns where they are."""
    config = model.config
    most_rows = config.sampling.sample_batch_size if config.planar else _TRAJECTORY_ROWS
    rows = min(request.count, most_rows)
    states = states or drawing.trajectory(model, request.part(request.first, rows))
    images = samples.first_images(root, config.image_shape, request.count if config.planar else _GRID_IMAGES)
    in_turn = 0 if request.labels else config.data.num_classes
    pictures.save_png(f'{root}.png', pictures.grid(images, in_turn))
    pictures.save_png(f'{root}-trajectory.png', pictures.trajectory(states, rows))
    return {
        'grid': f'{root}.png',
        'trajectory': f'{root}-trajectory.png',
        f'{request.count:,} images': root,
    }


def check_classes(config, classes, flag):
    """Raises UserError, in the name of the flag that asked for them, where the model has no such classes."""
    count = config.data.num_classes
    for wanted in classes:
        if not count:
            raise UserError(f'--{flag}={wanted}: the model has no classes; train one with --num_classes=-1')
        if not 0 <= wanted < count:
            raise UserError(f'--{flag}={wanted} must be from 0 to {count - 1}')
