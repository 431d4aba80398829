"""Writes the pictures of LSUN to TFRecord files, in several processes; an interrupted run can continue."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import lmdb
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tqdm
from absl import logging

from drl_tf.base.errors import UserError, one_line
from drl_tf.base.files import read_json, written_aside
from drl_tf.config import config
from drl_tf.data import images, lmdb_files, picture_files

PER_SHARD = 8192
_BROKEN_SHARE = 0.01
_ORDER_SEED = 0


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file of LSUN pictures to write.

    Attributes:
      split: 'train' or 'validation'.
      database: the directory of the LMDB (key-value database) with the pictures.
      keys: keys of the pictures for this file.
      size: height and width in pixels to resize to; 0: store each picture's encoded bytes unchanged.
      path: path of the file.
    """

    split: str
    database: str
    keys: tuple[bytes, ...]
    size: int
    path: str


def features(size: int) -> tfds.features.FeaturesDict:
    """Returns the features of the examples in the TFRecord files: 'id' is a text, 'image' a picture.

    Args:
      size: height and width of the images in pixels, stored as PNG; 0: the images have any size, and their
        encoded bytes, JPEG or WebP, are stored as published.
    """
    if size:
        image = tfds.features.Image(shape=(size, size, 3), encoding_format='png')
    else:
        image = tfds.features.Image(encoding_format='jpeg')
    return tfds.features.FeaturesDict({'id': tfds.features.Text(), 'image': image})


def plan(split: str, directory: str, size: int, work: str) -> list[Shard]:
    """Plans the TFRecord files of a split: at most 8,192 pictures each, shuffled with a fixed seed.

    The files are not written yet; only their directory is created. Its name contains a hash of the LMDB, so
    that files of other pictures are not reused.

    Args:
      split: 'train' or 'validation'.
      directory: the LMDB (key-value database) with the pictures.
      size: height and width in pixels to resize to; 0: store each picture's encoded bytes unchanged.
      work: directory in which the directory of the files is created.

    Returns:
      A `Shard` for each file, to pass to `write_all`.
    """
    keys = lmdb_files.keys(directory)
    status = os.stat(lmdb_files.file_of(directory))
    version = f'{status.st_size} {status.st_mtime_ns} {PER_SHARD}'.encode()
    identity = hashlib.sha256(b'\n'.join([*keys, version])).hexdigest()
    place = os.path.join(work, f'{split}_{identity[:16]}')
    os.makedirs(place, exist_ok=True)
    order = np.random.default_rng(_ORDER_SEED).permutation(len(keys))
    parts = np.array_split(order, -(-len(keys) // PER_SHARD))
    return [
        Shard(
            split, directory, tuple(keys[index] for index in part), size, os.path.join(place, f'{number:05}')
        )
        for number, part in enumerate(parts)
    ]


def write_all(shards: list[Shard], databases: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Writes the TFRecord files that do not exist yet, and warns of each broken picture.

    Args:
      shards: the `Shard` of each file of all splits; `plan` returns those of one split.
      databases: {name of each split in `shards`: directory of its LMDB}; messages name the directories.

    Returns:
      {path of each file, old or new: note}. A note is {'examples': number of pictures, 'bytes': size of the
      file, 'broken': {key of a broken picture in the LMDB: problem}}.

    Raises:
      UserError: an LMDB is damaged, or more than 1 % of the pictures of a split are broken.
    """
    total = {split: sum(len(shard.keys) for shard in shards if shard.split == split) for split in databases}
    broken = dict.fromkeys(databases, 0)
    notes = {}
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
                    f'{lmdb_files.file_of(shard.database)} is damaged: at least {broken[shard.split]:,} of '
                    f'its {total[shard.split]:,} pictures do not decode; unpack or fetch it again'
                )
    for split, count in broken.items():
        if count:
            logging.warning('%d of %d pictures of %s left out', count, total[split], databases[split])
    return notes


def _written(shards: list[Shard]) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Yields each shard and its note: first existing shards, then the others as processes finish them."""
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


def _note_path(shard: Shard) -> str:
    return f'{shard.path}.json'


def _note(shard: Shard) -> dict[str, Any]:
    return read_json(_note_path(shard))


def _processes() -> concurrent.futures.ProcessPoolExecutor:
    count = len(os.sched_getaffinity(0))
    return concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context('spawn'), _start_process)


def _start_process() -> None:
    """Limits a process to one thread and no GPU; ends it with its parent, even if the parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.set_visible_devices([], 'GPU')


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def write_shard(shard: Shard) -> None:
    """Writes one TFRecord file, and beside it a JSON file about its contents.

    The JSON file holds {'examples': number of pictures, 'bytes': size of the file, 'broken': {key of a broken
    picture in the LMDB: problem}}.
    """
    example_features = features(shard.size)
    examples = 0
    broken = {}
    aside = f'{shard.path}.writing'
    with (
        lmdb_files.open_to_read(shard.database) as source,
        source.begin() as transaction,
        tf.io.TFRecordWriter(aside) as writer,
    ):
        for key in shard.keys:
            content = transaction.get(key, default=b'')
            try:
                picture = encoded_picture(content, shard.size)
            except Exception as error:  # Decoders raise errors of many kinds on damaged files.
                broken[key.decode('ascii', 'backslashreplace')] = one_line(error)
                continue
            writer.write(example_features.serialize_example({'id': key, 'image': io.BytesIO(picture)}))
            examples += 1
    os.replace(aside, shard.path)
    with written_aside(_note_path(shard)) as file:
        json.dump({'examples': examples, 'bytes': os.path.getsize(shard.path), 'broken': broken}, file)


def encoded_picture(content: bytes, size: int) -> bytes:
    """Returns the bytes of the picture to store.

    Args:
      content: the bytes of the published picture, a JPEG or WebP.
      size: height and width of the PNG to return, cropped and resized; 0: `content` is returned as it is.

    Raises:
      Errors of the decoders, of many kinds: `content` is damaged.
    """
    picture_files.open_picture(io.BytesIO(content))
    if size:
        return _to_png(size)(content).numpy()
    images.decode(content, channels=3)
    return content


@functools.cache
def _to_png(size: int) -> Callable[[bytes], tf.Tensor]:
    """Returns a `tf.function` from an encoded picture to a PNG of `size` pixels, resized as in training."""
    data = config.Data(dataset='lsun_church', image_size=size, image_channels=3)
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(
        lambda content: tf.io.encode_png(images.crop_and_resize(images.decode(content, 3), data)), signature
    )
