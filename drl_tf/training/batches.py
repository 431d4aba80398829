"""The batches of images that training takes, on one worker or several."""

import os

from drl_tf.data import pipeline
from drl_tf.distributed import devices, workers
from drl_tf.runs import pictures
from drl_tf.training.grids import data_grid


def training_batches(config, step):
    """Batches of training images from a step on: all of each batch, or within several workers a dataset for
    `fit` of this worker's."""
    return workers.everywhere(lambda: _batches(config, step))


def show_batches(batches, config, step, workdir):
    """Writes `samples/data.png`, a grid of what the model learns from a step on."""
    whole = batches if workers.count() == 1 else None

    def show():
        cells = data_grid(whole or _batches(config, step), config)
        pictures.save_png(os.path.join(workdir, 'samples', 'data.png'), cells)

    workers.by_chief(show)


def _batches(config, step):
    data, batch, seed = config.data, config.training.batch_size, config.training.seed
    if workers.count() == 1:
        return pipeline.training_images(data, batch, seed, step)

    def of_worker(context):
        share, index = batch // context.num_input_pipelines, context.input_pipeline_id
        rows = slice(index * share, (index + 1) * share)
        return pipeline.training_images(data, batch, seed, step, rows, batch // context.num_replicas_in_sync)

    return devices.strategy().distribute_datasets_from_function(of_worker)
