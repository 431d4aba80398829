"""Grids of images that training writes: of the data, and of samples."""

import numpy as np

from drl_tf.runs import drawing, pictures
from drl_tf.runs.request import SampleRequest

_GRID_IMAGES, _GRID_POINTS = 100, 4096


def grid_images(config):
    """How many images a grid shows."""
    return _GRID_POINTS if config.planar else _GRID_IMAGES


def data_grid(batches, config):
    """Images that the model learns from, as a grid."""
    images = batches.map(lambda images, *labels: images).unbatch().take(grid_images(config))
    return pictures.square(pictures.kept(np.stack(list(images))))


def sample_grid(model, run):
    """An action that writes `samples/<step>.png` from the averaged weights."""

    def write(step, logs):
        with model.converged_average():
            request = SampleRequest.of(model.config, grid_images(model.config))
            images = np.concatenate(list(drawing.batches(model, request)))
        num_classes = model.config.data.num_classes
        captions = pictures.turn_captions(len(images), num_classes)
        run.save_grid(step, pictures.grid(images, num_classes), captions)

    return write
