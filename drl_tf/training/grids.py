"""Grids of images that training writes: of the data, and of samples."""

import os

import numpy as np

from drl_tf.distributed import workers
from drl_tf.runs import drawing, pictures
from drl_tf.runs.request import SampleRequest

_GRID_IMAGES, _GRID_POINTS = 100, 4096


def grid_images(config):
    """How many images a grid shows."""
    return _GRID_POINTS if config.planar else _GRID_IMAGES


def show_data(batches, config, workdir):
    """Writes `samples/data.png`, a grid of what the model learns from."""
    images = batches.map(lambda images, *labels: images).unbatch().take(grid_images(config))
    pictures.save_png(
        os.path.join(workdir, 'samples', 'data.png'), pictures.square(pictures.kept(np.stack(list(images))))
    )


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
