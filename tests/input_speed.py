"""How many images a second the input pipeline gives by itself, at every preset: python tests/input_speed.py [--seconds=5].

The pictures are parts of photographs in each dataset's real format and size. A dataset that fits in memory is read from there, as
in training, and the larger ones from files, which the operating system holds in memory after the first epoch: the figures are
of decoding, cropping and resizing, not of a disk.
"""

import argparse
import itertools
import os
import pathlib
import tempfile
import time
from unittest import mock

import numpy as np
import tfds_files
from pictures import encoded, photographs, write_lmdb

from drl_tf import config
from drl_tf.data import images, pipeline, prepared, specs

_PICTURES = 512
_PRESETS = (
    ('cifar10', 32, 256, 50_000),
    ('celeb_a', 64, 128, 162_770),
    ('lsun_church', 64, 128, 126_227),
    ('lsun_church', 128, 64, 126_227),
    ('lsun_bedroom', 64, 128, 3_033_042),
    ('lsun_bedroom', 128, 64, 3_033_042),
    ('celeb_a_hq', 128, 64, 27_000),
    ('celeb_a_hq', 256, 64, 27_000),
)
_SHAPES = {'cifar10': (32, 32), 'celeb_a': (178, 218), 'celeb_a_hq': None}


def main():
    """Prints a row for every preset and, for LSUN from files, for both ways of preparing it."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=5, help='How long to measure each row.')
    seconds = parser.parse_args().seconds
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name in ('church_outdoor', 'bedroom'):
            for split, count in (('train', _PICTURES), ('val', 8)):
                files = [encoded(picture) for picture in photographs(count)]
                write_lmdb(pathlib.Path(directory, 'manual', f'{name}_{split}_lmdb'), files)
        for dataset, size, batch, count in _PRESETS:
            in_memory = count * size**2 * 3 <= images.MAX_BYTES_IN_MEMORY
            for prepare_size in (0, size) if dataset.startswith('lsun') and not in_memory else (0,):
                data = _data(dataset, size, prepare_size, directory)
                place = 'memory' if in_memory else f'files of {size} px' if prepare_size else 'files'
                rows.append((dataset, size, batch, place, *_speed(data, batch, seconds, in_memory)))
    print(f'\n{os.cpu_count()} CPU cores\n| dataset | pixels | batch | from | images/s | images/s of CPU time |\n|---|---|---|---|---|---|')
    for row in rows:
        print('| {} | {} | {} | {} | {:,.0f} | {:,.0f} |'.format(*row))


def _data(dataset, size, prepare_size, directory):
    """A dataset on disk, as `training_images` takes it."""
    manual = os.path.join(directory, 'manual') if dataset.startswith('lsun') else ''
    data = specs.resolve(config.Data(dataset, os.path.join(directory, 'data'), manual, prepare_size, size))
    if dataset in _SHAPES and not prepared._builder(specs.builder_name(data), data.data_dir).data_path.exists():
        width, height = _SHAPES[dataset] or (size, size)
        faces = [np.asarray(picture.crop((0, 0, width, height))) for picture in photographs(_PICTURES, side=max(width, height))]
        tfds_files.write(specs.builder_name(data), data.data_dir, train=faces, validation=faces[:8], test=faces[:8])
    return data


def _speed(data, batch, seconds, in_memory):
    """Images a second, and a second of CPU time, after a first second that fills the buffers."""
    with mock.patch.object(images, 'MAX_BYTES_IN_MEMORY', 2**40 if in_memory else 0):
        batches = iter(pipeline.training_images(data, batch, seed=0))
        _take(batches, 1)
        start, cpu_start = time.perf_counter(), time.process_time()
        count = _take(batches, seconds)
        return count * batch / (time.perf_counter() - start), count * batch / (time.process_time() - cpu_start)


def _take(batches, seconds):
    """Takes batches for some seconds, at least one, and returns how many came."""
    start = time.perf_counter()
    for count in itertools.count(1):
        next(batches)
        if time.perf_counter() - start > seconds:
            return count


if __name__ == '__main__':
    main()
