"""LSUN: a builder of tensorflow-datasets over the published LMDB archives.

Yu et al., *LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop*,
arXiv 1506.03365.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import json
import multiprocessing
import os
import re
import shutil
import threading
import zipfile

import lmdb
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, written_aside
from drl_tf.config import config
from drl_tf.data import downloads, images, lmdb_files

_STOCK = tfds.builder_cls('lsun')
PER_SHARD = 8192
_BROKEN_SHARE = 0.01
_ORDER_SEED = 0


class Lsun(_STOCK, skip_registration=True):
    """LSUN in the layout, and with the names and features, of the stock builder, which needs tensorflow-io to
    read LMDB.

    The configuration `<category>` keeps the published JPEG or WebP files as they are; `<category>_<N>px`
    holds PNG files of N x N pixels, which are what `images.crop_and_resize` makes of the published ones.
    """

    name = 'lsun'
    url_infos = _STOCK.url_infos

    def __init__(self, *, config, **kwargs):
        category, size = re.fullmatch(r'(.*?)(?:_(\d+)px)?', config).groups()
        self.category, self.size = category, int(size or 0)
        if size:
            (stock,) = [known for known in self.BUILDER_CONFIGS if known.name == category]
            config = dataclasses.replace(
                stock, name=config, description=f'{stock.description}, cropped and resized to {size} px'
            )
        super().__init__(config=config, **kwargs)

    def _info(self):
        info = super()._info()
        return tfds.core.DatasetInfo(
            builder=self,
            description=info.description,
            features=_features(self.size),
            homepage=info.homepage,
            citation=info.citation,
        )

    def _split_generators(self, dl_manager):
        names = [self.category + end for end in ('_train_lmdb.zip', '_val_lmdb.zip', '.zip')]
        return dl_manager.download(
            {info.filename: url for url, info in self.url_infos.items() if info.filename in names}
        )

    def _download_and_prepare(self, dl_manager, download_config):
        """Writes the shards of all splits beside the downloads, where a later run finds those that are whole,
        and moves them."""
        work = os.path.join(dl_manager.download_dir, f'{self.name}_{self.builder_config.name}')
        archives = {
            _split(name): os.path.join(download_config.manual_dir, name)
            for name in os.listdir(download_config.manual_dir)
        }
        databases = {split: unpacked(path, work) for split, path in sorted(archives.items())}
        shards = [
            shard
            for split, directory in databases.items()
            for shard in _plan(split, directory, self.size, work)
        ]
        if not self.size:
            needed = sum(os.path.getsize(lmdb_files.file_of(directory)) for directory in databases.values())
            written = sum(os.path.getsize(shard.path) for shard in shards if os.path.exists(shard.path))
            downloads.check_room(work, needed - written, 'the prepared pictures')
        notes = _write_all(shards, databases)
        infos = []
        for split in databases:
            template = self._get_filename_template(split)
            mine = [shard.path for shard in shards if shard.split == split]
            for source, target in zip(mine, template.sharded_filepaths(len(mine)), strict=True):
                os.replace(source, target)
            lengths, sizes = zip(
                *((notes[path]['examples'], notes[path]['bytes']) for path in mine), strict=True
            )
            infos.append(tfds.core.SplitInfo(split, list(lengths), sum(sizes), template))
        self.info.set_splits(tfds.core.splits.SplitDict(infos))
        shutil.rmtree(work)


def _split(archive):
    return 'validation' if '_val_lmdb' in archive else 'train'


def _features(size):
    image = (
        tfds.features.Image(shape=(size, size, 3), encoding_format='png')
        if size
        else tfds.features.Image(encoding_format='jpeg')
    )
    return tfds.features.FeaturesDict({'id': tfds.features.Text(), 'image': image})


def unpacked(path, work):
    """The LMDB directory within an archive, unpacked once; a directory is one already."""
    path = os.path.realpath(path)
    if os.path.isdir(path):
        return path
    target = os.path.join(work, os.path.basename(path).removesuffix('.zip'))
    if os.path.exists(lmdb_files.file_of(target)):
        return target
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = [
                member for member in archive.infolist() if os.path.basename(member.filename) == 'data.mdb'
            ]
            os.makedirs(target, exist_ok=True)
            downloads.check_room(target, member.file_size, f'{path}, unpacked,')
            print(f'unpacking {path}', flush=True)
            with archive.open(member) as packed, written_aside(lmdb_files.file_of(target), 'wb') as file:
                shutil.copyfileobj(packed, file, 2**20)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise UserError(f'{path} is damaged or holds no data.mdb ({error}): fetch it again') from error
    return target


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One file to write: the pictures of `keys`, at `size` pixels unless it is 0."""

    split: str
    database: str
    keys: tuple[bytes, ...]
    size: int
    path: str


def _plan(split, directory, size, work):
    """Shards of at most 8,192 pictures each, in an order that depends on their number alone; keeps those of
    the same pictures."""
    keys = lmdb_files.keys(directory)
    status = os.stat(lmdb_files.file_of(directory))
    identity = hashlib.sha256(
        b'\n'.join([*keys, f'{status.st_size} {status.st_mtime_ns} {PER_SHARD}'.encode()])
    ).hexdigest()
    place = os.path.join(work, f'{split}_{identity[:16]}')
    os.makedirs(place, exist_ok=True)
    order = np.random.default_rng(_ORDER_SEED).permutation(len(keys))
    parts = np.array_split(order, -(-len(keys) // PER_SHARD))
    return [
        _Shard(
            split, directory, tuple(keys[index] for index in part), size, os.path.join(place, f'{number:05}')
        )
        for number, part in enumerate(parts)
    ]


def _write_all(shards, databases):
    """Writes the shards that are not there and returns the notes on all, by path; each picture left out is
    named once.

    Raises:
      UserError: an LMDB is damaged, or more than 1 % of a split's pictures are.
    """
    total = {split: sum(len(shard.keys) for shard in shards if shard.split == split) for split in databases}
    broken, notes = dict.fromkeys(databases, 0), {}
    listed = ', '.join(f'{count:,} pictures of {databases[split]}' for split, count in total.items())
    print(f'preparing {listed}', flush=True)
    with tqdm.tqdm(total=sum(total.values()), unit=' pictures') as progress:
        for shard, note in _written(shards):
            notes[shard.path] = note
            progress.update(len(shard.keys))
            for key, problem in note['broken'].items():
                logging.warning('Left out %s of %s, a broken picture: %s', key, shard.database, problem)
            broken[shard.split] += len(note['broken'])
            if broken[shard.split] > _BROKEN_SHARE * total[shard.split]:
                raise UserError(
                    f'{lmdb_files.file_of(shard.database)} is damaged: {broken[shard.split]:,} of its '
                    f'{total[shard.split]:,} pictures, or '
                    f'more, do not decode; unpack or fetch it again'
                )
    for split, count in broken.items():
        if count:
            logging.warning('%d of %d pictures of %s left out', count, total[split], databases[split])
    return notes


def _written(shards):
    """Yields (shard, its note) as they become whole: those that are already, then those that other processes
    write."""
    with _processes() as processes:
        pending = {}
        for shard in shards:
            if os.path.exists(_note_path(shard)) and os.path.exists(shard.path):
                yield shard, _note(shard)
            else:
                pending[processes.submit(write_shard, shard)] = shard
        try:
            for future in concurrent.futures.as_completed(pending):
                future.result()
                yield pending[future], _note(pending[future])
        except (lmdb.Error, concurrent.futures.BrokenExecutor) as error:
            raise lmdb_files.damaged(pending[future].database, error) from error
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


def _note_path(shard):
    return f'{shard.path}.json'


def _note(shard):
    return read_json(_note_path(shard))


def _processes():
    count = len(os.sched_getaffinity(0))
    return concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context('spawn'), _start_process)


def _start_process():
    """Keeps to one thread and no GPU, and ends with the parent, whichever way that ends."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.set_visible_devices([], 'GPU')


def write_shard(shard):
    """Writes a shard and then its note: the numbers of examples and bytes, and the keys of broken pictures
    with what is wrong."""
    features, examples, broken = _features(shard.size), 0, {}
    aside = f'{shard.path}.writing'
    with (
        lmdb_files.open_to_read(shard.database) as source,
        source.begin() as transaction,
        tf.io.TFRecordWriter(aside) as writer,
    ):
        for key in shard.keys:
            content = transaction.get(key)
            try:
                picture = prepared_shards(content, shard.size)
            except (
                Exception
            ) as error:  # Pillow's and TensorFlow's decoders raise errors of many kinds on damaged files.
                broken[key.decode('ascii', 'backslashreplace')] = one_line(error)
                continue
            writer.write(features.serialize_example({'id': key, 'image': io.BytesIO(picture)}))
            examples += 1
    os.replace(aside, shard.path)
    with written_aside(_note_path(shard)) as file:
        json.dump({'examples': examples, 'bytes': os.path.getsize(shard.path), 'broken': broken}, file)


def prepared_shards(content, size):
    """The encoded picture to store: the published one where `size` is 0. Raises whatever the decoders do on a
    broken one."""
    images.open_picture(io.BytesIO(content))
    if size:
        return _to_png(size)(content).numpy()
    images.decode(content, channels=3)
    return content


@functools.cache
def _to_png(size):
    """A graph from an encoded picture to the PNG of what training makes of it at `size` pixels."""
    data = config.Data(dataset='lsun_church', image_size=size, image_channels=3)
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(
        lambda content: tf.io.encode_png(images.crop_and_resize(images.decode(content, 3), data)), signature
    )
