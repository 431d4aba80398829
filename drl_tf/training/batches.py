"""The batches of training images, on one worker or several."""

from __future__ import annotations

import concurrent.futures
import os
from typing import TYPE_CHECKING

from drl_tf.base.errors import UserError, one_line, printable
from drl_tf.base.files import digest
from drl_tf.data import dataset_table, indexed, pipeline
from drl_tf.distributed import chief, cluster, devices, workers
from drl_tf.runs import pictures
from drl_tf.training.grids import data_grid

if TYPE_CHECKING:
    import tensorflow as tf

    from drl_tf.config.config import Config
    from drl_tf.config.data_options import Data


def prepare_images(config: Config) -> None:
    """Downloads or converts the images of a configuration's dataset, unless that was done before.

    With several workers, the chief (the first worker) goes first, so that others with the same data directory
    find its files.
    """
    chief.first(lambda: pipeline.prepare(config.data))


def training_batches(config: Config, step: int) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Returns an endless dataset of batches of training images, from a given step on.

    Args:
      config: the configuration of the run: dataset, batch size and seed.
      step: number of training steps that are done; the batches of these steps are skipped.

    Returns:
      Dataset of batches of images, float32 [batch, H, W, C] in [-1, 1]. For a model with classes, it holds
      pairs (images, labels); a label is the class + 1, or 0 for no class, int32 [batch]. With several
      workers, each worker gets its own part of each batch.

    Raises:
      UserError: the data are missing or damaged, or a worker has other pictures of the user than the chief
        (the first worker).
    """
    if workers.count() > 1 and dataset_table.is_own(config.data.dataset):
        _check_same_pictures(config.data)
    return workers.everywhere(lambda: _batches(config, step))


def _check_same_pictures(data: Data) -> None:
    """Raises UserError if the workers have different copies of the user's data."""
    mine = workers.everywhere(lambda: _said(data))
    chiefs = workers.exchange(mine)[0]

    def check() -> None:
        if mine != chiefs:
            raise UserError(
                f'worker {cluster.workers().index} has other data than the chief for '
                f'--dataset={data.dataset} ({mine} here, {chiefs} there): give all workers the same files'
            )

    workers.everywhere(check)


def _said(data: Data) -> str:
    """Says how many pictures a worker has; for a folder, with a hash of their paths below it."""
    said = ' + '.join(f'{pipeline.count_images(data, split):,}' for split in ('train', 'test'))
    if data.dataset != 'folder':
        return f'{said} pictures'
    names = [os.path.relpath(name, data.data_dir) for name in indexed.load(data, 'train').names()]
    return f'{said} pictures, names {digest(str(names))}'


def broken_picture(data: Data) -> str:
    """Looks for a training picture of the user that cannot be read, among those that were read before.

    Args:
      data: options of the dataset, with its image size, channels and number of classes.

    Returns:
      Its name, such as its path, and the reason; '' if all can be read, or lie in memory.
    """
    mine = indexed.load(data, 'train')
    if mine.images is not None:
        return ''

    def problem(row: int) -> str:
        try:
            mine.pictures.read(row)
            return ''
        except Exception as error:  # Decoders raise errors of many kinds on damaged pictures.
            return f'{printable(mine.pictures.name(row))}: {printable(one_line(error))}'

    pool = concurrent.futures.ThreadPoolExecutor()
    try:
        return next(filter(None, pool.map(problem, mine.rows.tolist())), '')
    finally:
        pool.shutdown(cancel_futures=True)


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

    @chief.only
    def show() -> None:
        cells = data_grid(whole or _batches(config, step), config)
        pictures.save_png(os.path.join(workdir, 'samples', 'data.png'), cells)

    show()


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
