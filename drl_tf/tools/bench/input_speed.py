"""Measures how many images per second the input pipeline yields, and how many training uses, per preset.

Digits and emoji are the real pictures; other datasets are replaced by crops of photographs in the same format
and size. Files are in the cache of the operating system, so the figures measure decoding, cropping and
resizing, not a disk. Small presets are trained for a few seconds; for others, the images that an accelerator
uses per second are computed, at 40 % of its peak.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np

from drl_tf.cli import parsing
from drl_tf.config.config import Config
from drl_tf.config.data_options import Data
from drl_tf.core.build_model import build_model
from drl_tf.data import dataset_table, images, pipeline, tfds_datasets
from drl_tf.distributed import devices
from drl_tf.planning.flops import cost
from drl_tf.tools import tfds_files
from drl_tf.tools.photographs import encoded, photographs, write_lmdb
from drl_tf.training.optimizers import compiled_model

_PICTURES = 512
SMALL_PICTURES = 8192
# Number of images in the training split.
COUNTS = {
    'cifar10': 50_000,
    'imagenet32': 1_281_167,
    'celeb_a': 162_770,
    'celeb_a_hq': 27_000,
    'lsun_church': 126_227,
    'lsun_bedroom': 3_033_042,
}
# (width, height) of the published pictures; None: the same as the image size.
_SHAPES = {'cifar10': (32, 32), 'imagenet32': (32, 32), 'celeb_a': (178, 218), 'celeb_a_hq': None}
TRAINED_HERE = ('digits', 'emoji')
_PEAK_FLOPS = {'H100': 989e12, 'TPU v5e': 197e12}  # bfloat16, dense, according to their makers.
_SHARE_OF_PEAK = 0.4
_HERE = 'here'
_RECIPES = ('t6', 'cdrl', 'preconditioned')


def lines(dataset: str, size: int, directory: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Compares how fast the input pipeline yields images with how fast training uses them.

    Args:
      dataset: name of the dataset.
      size: image size in pixels; 0: the size in the preset.
      directory: directory to which the images are written.
      seconds: duration of each measurement.

    Yields:
      A dict for each way to read the dataset that `places` yields, such as from memory:

      - 'part' (always 'input'), 'name' (such as 'cifar10 at 32 px from memory') and 'batch' (batch size).
      - 'images_per_s': images that the pipeline yields per second.
      - 'images_per_s_of_one_core': images that the pipeline yields per second of CPU time.
      - 'H100, t6' and so on, for each device and recipe: images that training uses per second.
      - 'pipeline / H100' and so on, for each device: 'images_per_s', divided by the images per second that
        the fastest recipe uses.
    """
    settings = [preset(dataset, size, recipe) for recipe in _RECIPES]
    batch = settings[-1].training.batch_size
    speeds = [
        (place, *speed(data, batch, seconds, place == 'memory'))
        for place, data in places(settings[-1].data, directory)
    ]
    taken = images_taken(settings, directory, seconds)
    for place, given, given_by_core in speeds:
        yield {
            'part': 'input',
            'name': f'{dataset} at {size} px from {place}',
            'batch': batch,
            'images_per_s': given,
            'images_per_s_of_one_core': given_by_core,
            **{
                f'{where}, {recipe}': number
                for where, numbers in taken.items()
                for recipe, number in zip(_RECIPES, numbers, strict=True)
            },
            **{f'pipeline / {where}': given / max(numbers) for where, numbers in taken.items()},
        }


def presets() -> list[tuple[str, int]]:
    """Returns the pairs (dataset, image size) of the built-in image datasets that have presets, sorted."""
    stems = [path.stem for path in parsing.preset_directory().glob('*.flags')]
    found = set()
    for name in stems:
        if name.startswith(('recipe_', 'toy', 'folder')):
            continue
        dataset = max((known for known in dataset_table.DATASETS if name.startswith(known)), key=len)
        size = name.removeprefix(f'{dataset}_')
        found.add((dataset, preset(dataset, int(size) if size.isdigit() else 0, 'cdrl').data.image_size))
    return sorted(found)


def preset(dataset: str, size: int, recipe: str) -> Config:
    """Returns the configuration of a preset.

    Args:
      dataset: name of the dataset.
      size: image size in pixels; 0: the size in the preset.
      recipe: how to train, such as 't6' or 'preconditioned'.
    """
    sizes = [f'--image_size={size}'] if size else []
    return parsing.configuration_of([f'--dataset={dataset}', f'--recipe={recipe}', *sizes])


def places(data: Data, directory: str | os.PathLike[str]) -> Iterator[tuple[str, Data]]:
    """Writes a dataset to a directory, and yields each way in which training would read the dataset.

    Args:
      data: options of the dataset.
      directory: the directory.

    Yields:
      Pairs (name of the way, options to read the dataset in this way). If the dataset fits in memory, the
      only way is 'memory'. Otherwise it is 'files', which reads from disk. For LSUN, a second way follows:
      'files of <N> px' reads pictures that were resized to N pixels before they were stored.
    """
    if data.dataset not in COUNTS or images.fit_in_memory(COUNTS[data.dataset], data):
        yield 'memory', on_disk(data, directory)
        return
    yield 'files', on_disk(data, directory)
    if data.dataset.startswith('lsun'):
        resized = dataclasses.replace(data, prepare_size=data.image_size)
        yield f'files of {data.image_size} px', on_disk(resized, directory)


def on_disk(data: Data, directory: str | os.PathLike[str]) -> Data:
    """Prepares a dataset, or a substitute for it; returns the options to read it.

    The datasets in `COUNTS`, which would have to be downloaded, are replaced by photographs in the same
    format. They and emoji are written to the directory; other data, such as the user's own, stay where they
    are.

    Args:
      data: options of the dataset.
      directory: directory to which the images are written.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        data = _written(data, directory)
        pipeline.prepare(data)
    return data


def _written(data: Data, directory: str | os.PathLike[str]) -> Data:
    here = dataclasses.replace(data, data_dir=os.path.join(directory, 'data'))
    if data.dataset.startswith('lsun'):
        manual = pathlib.Path(directory, 'manual')
        _write_lsun(here, manual)
        return dataclasses.replace(here, manual_dir=str(manual))
    if data.dataset in _SHAPES:
        _write_tfds(here)
        return here
    return here if data.dataset == 'emoji' else data


def _write_lsun(data: Data, directory: pathlib.Path) -> None:
    """Writes LMDB databases named like the published ones of an LSUN category, unless they exist."""
    category = dataset_table.builder_name(dataclasses.replace(data, prepare_size=0)).removeprefix('lsun/')
    for split, count in (('train', _PICTURES), ('val', 8)):
        database = directory / f'{category}_{split}_lmdb'
        if not database.exists():
            write_lmdb(database, [encoded(picture) for picture in photographs(count)])


def _write_tfds(data: Data) -> None:
    """Writes a dataset in the format of tensorflow-datasets, unless it is there."""
    name = dataset_table.builder_name(data)
    if tfds_datasets.make_builder(name, data.data_dir).data_path.exists():
        return
    width, height = _SHAPES[data.dataset] or (data.image_size, data.image_size)
    count = SMALL_PICTURES if width <= 32 else _PICTURES
    pictures = [
        np.asarray(picture.crop((0, 0, width, height)))
        for picture in photographs(count, side=max(width, height))
    ]
    few = pictures[:8]
    tfds_files.write(name, data.data_dir, train=pictures, validation=few, test=few)


def speed(data: Data, batch: int, seconds: float, in_memory: bool) -> tuple[float, float]:
    """Measures how many images per second the input pipeline yields, once it has run for a second.

    Args:
      data: options of the dataset.
      batch: images per batch.
      seconds: duration of the measurement.
      in_memory: whether the pipeline keeps the dataset in memory; False: it reads files.

    Returns:
      Pair of images per second of elapsed time, and images per second of CPU time.
    """
    with mock.patch.object(images, 'MAX_BYTES_IN_MEMORY', 2**40 if in_memory else 0):
        batches = iter(pipeline.training_images(data, batch, seed=0))
        _repeat(lambda: next(batches), 1)
        start = time.perf_counter()
        cpu_start = time.process_time()
        count = _repeat(lambda: next(batches), seconds) * batch
        return count / (time.perf_counter() - start), count / (time.process_time() - cpu_start)


def images_taken(
    settings: list[Config], directory: str | os.PathLike[str], seconds: float
) -> dict[str, list[float]]:
    """Returns how many images per second training uses, measured on this machine or predicted.

    Args:
      settings: configurations that train on the same dataset, such as one for each recipe.
      directory: directory for the images of the dataset.
      seconds: duration of a measurement.

    Returns:
      {device: [images per second with each configuration]}. For digits and emoji, the only device is 'here',
      this machine, where training is measured. For other datasets, the devices are accelerators, and the
      speed is predicted: 40 % of the peak operations per second, divided by the operations per image.
    """
    if settings[0].data.dataset in TRAINED_HERE:
        return {_HERE: [_trained(config, directory, seconds) for config in settings]}
    flops = [cost(build_model(config))['FLOPs of a training step, per image'] for config in settings]
    return {name: [_SHARE_OF_PEAK * peak / number for number in flops] for name, peak in _PEAK_FLOPS.items()}


def _trained(config: Config, directory: str | os.PathLike[str], seconds: float) -> float:
    """Measures the images per second that training takes here, with one batch over and over."""
    config = config.replace(precision=devices.resolve_precision(config.training.precision))
    model: Any = compiled_model(config)
    batch = config.training.batch_size
    training = pipeline.training_images(on_disk(config.data, directory), batch, seed=0)
    batches = iter(training.take(1).cache().repeat())
    model.make_train_function()
    _repeat(lambda: model.train_function(batches), 1)
    start = time.perf_counter()
    return _repeat(lambda: model.train_function(batches), seconds) * batch / (time.perf_counter() - start)


def _repeat(function: Callable[[], object], seconds: float) -> int:
    """Calls a function over and over for some seconds, at least once, and returns how often."""
    start = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - start <= seconds:
        function()
        count += 1
    return count
