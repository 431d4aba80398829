"""Grids of pictures that training writes: of its data, and of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from drl_tf.runs import drawing, pictures
from drl_tf.runs.request import SampleRequest

if TYPE_CHECKING:
    import tensorflow as tf

    from drl_tf.config.config import Config
    from drl_tf.core.recovery_likelihood import RecoveryLikelihood
    from drl_tf.runs.run_directory import Run

_GRID_IMAGES = 100
_GRID_POINTS = 4096


def _grid_images(config: Config) -> int:
    """Returns how many images a grid shows: 100; or 4,096 if the data are points of the plane."""
    return _GRID_POINTS if config.planar else _GRID_IMAGES


def data_grid(batches: tf.data.Dataset, config: Config) -> np.ndarray:
    """Arranges the first 100 images of a dataset in a grid.

    If the data are points of the plane, the grid is a single picture of the first 4,096 points.

    Args:
      batches: dataset of batches of images, float32 [batch, H, W, C] in [-1, 1], or of pairs (images,
        labels).
      config: the configuration of the run, which tells whether the data are points of the plane.

    Returns:
      The images in rows and columns, uint8 [rows, columns, H, W, C].
    """
    images = batches.map(lambda images, *labels: images).unbatch().take(_grid_images(config))
    return pictures.square(pictures.kept(np.stack(list(images))))


def sample_grid(model: RecoveryLikelihood, run: Run) -> Callable[[int, Any], None]:
    """Returns a function that draws samples and writes a grid of them to `samples/<step>.png`.

    Args:
      model: the model in training; the samples are drawn with its averaged weights.
      run: writes the files of the workdir.

    Returns:
      A function of (step, logs), which training calls between two steps. step: number of training steps
      done, for the file name. logs: not used.
    """

    def write(step: int, logs: Any) -> None:
        with model.ema_network.converged():
            request = SampleRequest.of(model.config, _grid_images(model.config))
            images = np.concatenate(list(drawing.batches(model, request)))
        num_classes = model.config.data.num_classes
        captions = pictures.turn_captions(len(images), num_classes)
        run.save_grid(step, pictures.grid(images, num_classes), captions)

    return write
