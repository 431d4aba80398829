"""How many images a second the input pipeline gives by itself, and training takes, at every preset: python -m
drl_tf.tools.input_speed.

The pictures are parts of photographs in each dataset's real format and size; digits and emoji are the real
ones. A dataset that fits in memory is read from there, as in training, and the larger ones from files, which
the operating system holds in memory after the first epoch: the figures are of decoding, cropping and
resizing, not of a disk. Small presets are trained here for a few seconds; of the others it is computed how
many images a second an accelerator takes that computes at 40 % of its peak.
"""

import argparse
import contextlib
import dataclasses
import io
import itertools
import os
import pathlib
import tempfile
import time
from unittest import mock

import numpy as np

from drl_tf.cli import parsing
from drl_tf.core.models import build_model
from drl_tf.data import dataset_table, images, pipeline, tfds_datasets
from drl_tf.distributed import devices
from drl_tf.planning.flops import cost
from drl_tf.tools import tfds_files
from drl_tf.tools.photographs import encoded, photographs, write_lmdb
from drl_tf.training.optimizers import compiled_model

_PICTURES, SMALL_PICTURES = 512, 8192
COUNTS = {'cifar10': 50_000, 'imagenet32': 1_281_167, 'celeb_a': 162_770, 'celeb_a_hq': 27_000,
'lsun_church': 126_227,
           'lsun_bedroom': 3_033_042}  # fmt: skip
_SHAPES = {'cifar10': (32, 32), 'imagenet32': (32, 32), 'celeb_a': (178, 218), 'celeb_a_hq': None}
TRAINED_HERE = ('digits', 'emoji')
_PEAK_FLOPS = {'H100': 989e12, 'TPU v5e': 197e12}  # bfloat16, dense, as their makers say.
_SHARE_OF_PEAK = 0.4
_HERE = 'here'
_WHERE = (_HERE, *_PEAK_FLOPS)
_RECIPES = ('t6', 'cdrl')


def main():
    """Prints a row for every preset and way to read it: what the pipeline gives, what training takes, and
    their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=5, help='How long to measure each row.')
    seconds = parser.parse_args().seconds
    columns = ['dataset', 'pixels', 'batch', 'from', 'images/s', 'of one core']
    columns += [f'{where}, t6 / cdrl' for where in _WHERE] + ['pipeline / faster recipe']
    print(
        f'{len(os.sched_getaffinity(0))} CPU cores\n| {" | ".join(columns)} |\n|{"---|" * len(columns)}',
        flush=True,
    )
    with tempfile.TemporaryDirectory() as directory:
        for dataset, size in presets():
            settings = [preset(dataset, size, recipe) for recipe in _RECIPES]
            batch, data = settings[-1].training.batch_size, settings[-1].data
            speeds = [
                (place, *speed(read, batch, seconds, place == 'memory'))
                for place, read in places(data, directory)
            ]
            taken = images_taken(settings, directory, seconds)
            cells = [
                f'{taken[where][0]:,.0f} / {taken[where][1]:,.0f}' if where in taken else ''
                for where in _WHERE
            ]
            for place, *given in speeds:
                row = [dataset, size, batch, place, *(f'{number:,.0f}' for number in given), *cells]
                print(
                    '|',
                    *(
                        f'{cell} |'
                        for cell in [
                            *row,
                            ', '.join(f'{given[0] / max(step):,.1f}' for step in taken.values()),
                        ]
                    ),
                    flush=True,
                )


def presets():
    """The datasets of images, and their sizes, that have settings in `flags/`, sorted."""
    names = [
        path.stem
        for path in parsing.preset_directory().glob('*.flags')
        if not path.stem.startswith(('recipe_', 'toy'))
    ]
    found = set()
    for name in names:
        dataset = max((known for known in dataset_table.DATASETS if name.startswith(known)), key=len)
        size = name.removeprefix(f'{dataset}_')
        found.add((dataset, preset(dataset, int(size) if size.isdigit() else 0, 'cdrl').data.image_size))
    return sorted(found)


def preset(dataset, size, recipe):
    """The configuration that the command line makes of a dataset, an image size (0: that of the settings) and
    a recipe."""
    sizes = [f'--image_size={size}'] if size else []
    return parsing.configuration_of([f'--dataset={dataset}', f'--recipe={recipe}', *sizes])


def places(data, directory):
    """Yields where a dataset is read from, as training would, and the settings that do so, once it is
    there."""
    if data.dataset in COUNTS and not images.fit_in_memory(COUNTS[data.dataset], data):
        yield 'files', on_disk(data, directory)
        if data.dataset.startswith('lsun'):
            yield (
                f'files of {data.image_size} px',
                on_disk(dataclasses.replace(data, prepare_size=data.image_size), directory),
            )
    else:
        yield 'memory', on_disk(data, directory)


def on_disk(data, directory):
    """A dataset on disk, as `training_images` takes it."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = _laid(data, directory)
        pipeline.prepare(data)
    return data


def _laid(data, directory):
    if data.dataset == 'digits':
        return data
    data = dataclasses.replace(data, data_dir=os.path.join(directory, 'data'))
    if data.dataset.startswith('lsun'):
        manual = pathlib.Path(directory, 'manual')
        category = dataset_table.builder_name(dataclasses.replace(data, prepare_size=0)).removeprefix('lsun/')
        for split, count in (('train', _PICTURES), ('val', 8)):
            if not (manual / f'{category}_{split}_lmdb').exists():
                write_lmdb(
                    manual / f'{category}_{split}_lmdb', [encoded(picture) for picture in photographs(count)]
                )
        return dataclasses.replace(data, manual_dir=str(manual))
    if (
        data.dataset in _SHAPES
        and not tfds_datasets.make_builder(dataset_table.builder_name(data), data.data_dir).data_path.exists()
    ):
        width, height = _SHAPES[data.dataset] or (data.image_size, data.image_size)
        count = SMALL_PICTURES if width <= 32 else _PICTURES
        pictures = [
            np.asarray(picture.crop((0, 0, width, height)))
            for picture in photographs(count, side=max(width, height))
        ]
        tfds_files.write(
            dataset_table.builder_name(data),
            data.data_dir,
            train=pictures,
            validation=pictures[:8],
            test=pictures[:8],
        )
    return data


def speed(data, batch, seconds, in_memory):
    """Images a second, and a second of CPU time, after a first second that fills the buffers."""
    with mock.patch.object(images, 'MAX_BYTES_IN_MEMORY', 2**40 if in_memory else 0):
        batches = iter(pipeline.training_images(data, batch, seed=0))
        _take(lambda: next(batches), 1)
        start, cpu_start = time.perf_counter(), time.process_time()
        count = _take(lambda: next(batches), seconds)
        return count * batch / (time.perf_counter() - start), count * batch / (
            time.process_time() - cpu_start
        )


def images_taken(settings, directory, seconds):
    """Images a second that training takes in each configuration, {where: [images a second, ...]}."""
    if settings[0].data.dataset in TRAINED_HERE:
        return {_HERE: [_trained(one, directory, seconds) for one in settings]}
    flops = [cost(build_model(one))['FLOPs of a training step, per image'] for one in settings]
    return {name: [_SHARE_OF_PEAK * peak / number for number in flops] for name, peak in _PEAK_FLOPS.items()}


def _trained(settings, directory, seconds):
    """Images a second that training takes here, given the same batch again and again."""
    settings = settings.replace(precision=devices.resolve_precision(settings.training.precision))
    model, batch = compiled_model(settings), settings.training.batch_size
    batches = iter(
        pipeline.training_images(on_disk(settings.data, directory), batch, seed=0).take(1).cache().repeat()
    )
    model.make_train_function()
    _take(lambda: model.train_function(batches), 1)
    start = time.perf_counter()
    return _take(lambda: model.train_function(batches), seconds) * batch / (time.perf_counter() - start)


def _take(function, seconds):
    """Calls a function again and again for some seconds, at least once, and returns how often."""
    start = time.perf_counter()
    for count in itertools.count(1):
        function()
        if time.perf_counter() - start > seconds:
            return count


if __name__ == '__main__':
    main()
