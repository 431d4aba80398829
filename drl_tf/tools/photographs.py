"""Makes test pictures from photographs in installed packages, and LMDBs of them in the format of LSUN."""

import functools
import hashlib
import importlib.resources
import io
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import lmdb
import numpy as np
from PIL import Image

_SOURCES = (
    ('sklearn', 'datasets/images/china.jpg'),
    ('sklearn', 'datasets/images/flower.jpg'),
    ('matplotlib', 'mpl-data/sample_data/grace_hopper.jpg'),
)


@functools.cache
def _sources() -> list[Image.Image]:
    pictures = []
    for package, path in _SOURCES:
        with importlib.resources.files(package).joinpath(path).open('rb') as file:
            pictures.append(Image.open(file).convert('RGB'))
    return pictures


def photographs(count: int, side: int = 256, seed: int = 0) -> Iterator[Image.Image]:
    """Yields random crops of photographs; the longer side of a crop is 1 to 1.5 times the shorter one.

    Args:
      count: number of crops.
      side: shorter side of a crop in pixels; 256 in LSUN.
      seed: seed of the random crops.
    """
    draws = np.random.default_rng(seed)
    for index in range(count):
        source = _sources()[index % len(_SOURCES)]
        height, width = (int(side * factor) for factor in draws.permutation([1, draws.uniform(1, 1.5)]))
        scale = draws.uniform(0.5, 1) * min(source.width / width, source.height / height)
        left = draws.uniform(0, source.width - scale * width)
        top = draws.uniform(0, source.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        yield source.resize((width, height), Image.Resampling.BICUBIC, box)


def encoded(picture: Image.Image, kind: str = 'JPEG', **options: Any) -> bytes:
    """Encodes a picture as the content of a file; by default, as a JPEG of quality 75 as in LSUN.

    Args:
      picture: the picture.
      kind: format of the file, such as 'PNG'.
      options: options of Pillow for the format, such as `quality`.
    """
    file = io.BytesIO()
    if kind == 'JPEG':
        options = {'quality': 75, **options}
    picture.save(file, kind, **options)
    return file.getvalue()


def write_lmdb(
    directory: str | os.PathLike[str], files: Sequence[bytes], keys: Sequence[str] | None = None
) -> dict[str, bytes]:
    """Writes an LMDB database of encoded pictures to a directory.

    Args:
      directory: path of a directory that does not exist yet.
      files: encoded pictures, the contents of files.
      keys: one key per file; None: hashes, as in LSUN.

    Returns:
      The content of the database, {key: encoded picture}.
    """
    hashes = (hashlib.sha1(b'%d %s' % (index, file)).hexdigest() for index, file in enumerate(files))
    content = dict(zip(keys or hashes, files, strict=True))
    pathlib.Path(directory).mkdir(parents=True)
    size = sum(len(file) + 8192 for file in files) + 2**20
    with lmdb.open(str(directory), map_size=size) as database, database.begin(write=True) as transaction:
        for key, file in content.items():
            transaction.put(key.encode(), file)
    return content


def zipped(directory: pathlib.Path) -> pathlib.Path:
    """Zips an LMDB directory to `<directory>.zip`, and returns the path of the archive."""
    path = pathlib.Path(f'{directory}.zip')
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(pathlib.Path(directory).iterdir()):
            archive.write(file, f'{directory.name}/{file.name}')
    return path


def end_process(_: object) -> NoReturn:
    """Aborts the process; the argument is ignored.

    Tests put this function in place of one that reads an LMDB database, because reading a damaged database
    can abort the process too.
    """
    os.abort()
