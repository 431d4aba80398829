"""Sampling from a trained model into files."""

import dataclasses
import os

from drl_tf.config import combinations
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
    combinations.check_classes(config, request.labels)
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
    in_turn = len(request.labels) or config.data.num_classes
    in_turn = 0 if request.label_weights or in_turn == 1 else in_turn
    pictures.save_png(f'{root}.png', pictures.grid(images, in_turn))
    pictures.save_png(f'{root}-trajectory.png', pictures.trajectory(states, rows))
    return {
        'grid': f'{root}.png',
        'trajectory': f'{root}-trajectory.png',
        f'{request.count:,} images': root,
    }
