"""Photographs that installed packages ship, cut to many, and LMDBs of them as LSUN is published."""

import functools
import hashlib
import importlib.resources
import io
import os
import pathlib
import zipfile

import lmdb
import numpy as np
from PIL import Image

_SOURCES = (('sklearn', 'datasets/images/china.jpg'), ('sklearn', 'datasets/images/flower.jpg'),
            ('matplotlib', 'mpl-data/sample_data/grace_hopper.jpg'))  # fmt: skip


@functools.cache
def _sources():
    return [
        Image.open(importlib.resources.files(package) / path).convert('RGB') for package, path in _SOURCES
    ]


def photographs(count, side=256, seed=0):
    """Different parts of photographs, their shorter side `side`, as LSUN has them with 256."""
    draws = np.random.default_rng(seed)
    for index in range(count):
        source = _sources()[index % len(_SOURCES)]
        height, width = (int(side * factor) for factor in draws.permutation([1, draws.uniform(1, 1.5)]))
        scale = draws.uniform(0.5, 1) * min(source.width / width, source.height / height)
        left, top = (
            draws.uniform(0, source.width - scale * width),
            draws.uniform(0, source.height - scale * height),
        )
        box = (left, top, left + scale * width, top + scale * height)
        yield source.resize((width, height), Image.Resampling.BICUBIC, box)


def encoded(picture, kind='JPEG', **options):
    """The file of a picture; JPEG of quality 75 is what LSUN's scenes are."""
    file = io.BytesIO()
    picture.save(file, kind, **({'quality': 75} if kind == 'JPEG' else {}) | options)
    return file.getvalue()


def write_lmdb(directory, files, keys=None):
    """An LMDB directory of encoded pictures under `keys`, or hashes as in LSUN; returns {key: file}."""
    hashes = (hashlib.sha1(b'%d %s' % (index, file)).hexdigest() for index, file in enumerate(files))
    content = dict(zip(keys or hashes, files, strict=True))
    pathlib.Path(directory).mkdir(parents=True)
    size = sum(len(file) + 8192 for file in files) + 2**20
    with lmdb.open(str(directory), map_size=size) as database, database.begin(write=True) as transaction:
        for key, file in content.items():
            transaction.put(key.encode(), file)
    return content


def zipped(directory):
    """The archive of an LMDB directory, beside it and under its name."""
    path = pathlib.Path(f'{directory}.zip')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(pathlib.Path(directory).iterdir()):
            archive.write(file, f'{directory.name}/{file.name}')
    return path


def end_process(_):
    """What reading a damaged LMDB may do to a process."""
    os.abort()
