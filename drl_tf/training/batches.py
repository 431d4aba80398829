"""The batches of training images, on one worker or several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from drl_tf.data import pipeline
from drl_tf.distributed import devices, workers
from drl_tf.runs import pictures
from drl_tf.training.grids import data_grid

if TYPE_CHECKING:
    import tensorflow as tf

    from drl_tf.config.config import Config


def prepare_images(config: Config) -> None:
    """Downloads or converts the images of a configuration's dataset, unless that was done before.

    With several workers, the chief (the first worker) goes first, so that others with the same data directory
    find its files.
    """
    workers.chief_first(lambda: pipeline.prepare(config.data))


def training_batches(config: Config, step: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Returns an endless dataset of batches of training images, from a given step on.

    Args:
      config: the configuration of the run: dataset, batch size and seed.
      step: number of training steps that are done; the batches of these steps are skipped.

    Returns:
      Dataset of batches of images, float32 [batch, H, W, C] in [-1, 1]. For a model with classes, it holds
      pairs (images, labels); a label is the class + 1, or 0 for no class, int32 [batch]. With several
      workers, each worker gets its own part of each batch.
    """
    return workers.everywhere(lambda: _batches(config, step))


def show_batches(
    batches: tf.data.Dataset | tf.distribute.DistributedDataset, config: Config, step: int, workdir: str
) -> None:
    """Writes `samples/data.png` in the workdir: a grid of the images on which the next steps train.

    Args:
      batches: the dataset that `training_batches(config, step)` returned.
      config: the configuration of the run.
      step: number of training steps that are done.
      workdir: the run's directory.
    """
    whole = batches if workers.count() == 1 else None

    def show() -> None:
        cells = data_grid(whole or _batches(config, step), config)
        pictures.save_png(os.path.join(workdir, 'samples', 'data.png'), cells)

    workers.by_chief(show)


def _batches(config: Config, step: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    data = config.data
    batch = config.training.batch_size
    seed = config.training.seed
    if workers.count() == 1:
        return pipeline.training_images(data, batch, seed, step)

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = batch // context.num_input_pipelines
        first = context.input_pipeline_id * share
        rows = slice(first, first + share)
        return pipeline.training_images(data, batch, seed, step, rows, batch // context.num_replicas_in_sync)

    return devices.strategy().distribute_datasets_from_function(of_worker)
