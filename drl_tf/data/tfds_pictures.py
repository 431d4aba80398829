"""Decodes the pictures of prepared datasets, and finds broken pictures among the user's own."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from drl_tf.base.errors import UserError, one_line, printable
from drl_tf.base.files import parse_json
from drl_tf.config import config
from drl_tf.data import dataset_table, images, tfds_features
from drl_tf.data.tfds_datasets import unreadable
from drl_tf.data.tuning import THREADS, untuned

_KEPT = 'broken_images.json'
_BATCH = 256
_CHECKED_AT_ONCE = 64
_found: dict[tuple[str, str], dict[str, str]] = {}


@dataclasses.dataclass(frozen=True)
class FilePart:
    """Consecutive usable records of a TFRecord file: records whose pictures can be decoded.

    Attributes:
      filename: path of the file.
      skip: number of usable records before the first one of this part.
      take: number of usable records in this part.
    """

    filename: str
    skip: int
    take: int


def decode(encoded: tf.Tensor, builder: tfds.core.DatasetBuilder) -> tf.Tensor:
    """Decodes the picture of an example of tensorflow-datasets.

    Args:
      encoded: the bytes of the picture file, string [].
      builder: builder of the dataset, which knows the shape of its pictures.

    Returns:
      uint8 [h, w, c]; TensorFlow raises an error if the shape differs from that of the dataset.
    """
    shape = builder.info.features[tfds_features.image_feature(builder)].shape
    channels = shape[-1] if shape[-1] in (1, 3) else 3
    return tf.ensure_shape(images.decode(encoded, channels), (*shape[:-1], channels))


def broken(builder: tfds.core.DatasetBuilder, split: str, data: config.Data) -> dict[str, str]:
    """Finds the examples of a split whose pictures cannot be decoded.

    The first call decodes each picture, and writes the result to `broken_images.json` in the dataset's
    directory, if that can be written to. Later calls read this file. If the files of the split have changed
    since, a new process decodes the pictures again. A warning names each broken picture, once in a process.

    Args:
      builder: builder of a prepared dataset.
      split: name of a split, or of a part of it, such as 'train[:90]'; in both cases, the whole split is
        searched.
      data: options of the dataset.

    Returns:
      {identifier `tfds_id` of a broken example: reason}. Built-in datasets are not searched; for them, {}.

    Raises:
      UserError: a file is damaged, or all pictures are broken.
    """
    if not dataset_table.is_own(data.dataset):
        return {}
    whole = split.partition('[')[0]
    key = (os.fspath(builder.data_path), whole)
    if key not in _found:
        state = _state(builder, whole)
        found = _read(builder, whole, state)
        if found is None:
            found = _search(builder, whole)
            _write(builder, whole, state, found)
        _report(builder, whole, found)
        _found[key] = found
    return _found[key]


def forget() -> None:
    """Drops the results of `broken` in this process; the next call reads `broken_images.json` again."""
    _found.clear()


def usable_parts(files: Sequence[Any], found: dict[str, str]) -> list[FilePart]:
    """Finds the part of each TFRecord file that belongs to a split, if broken pictures are left out.

    Args:
      files: the file instructions of a split of tensorflow-datasets, with the attributes `filename`, `skip`
        and `take`: of each file, the split has `take` records after the first `skip`. Both numbers count all
        records, also those of broken pictures.
      found: {identifier `tfds_id` of an example that cannot be decoded: reason}; `broken` returns it.

    Returns:
      A `FilePart` for each of `files`: of the records of the file that `usable_records` reads, the split has
      `take` after the first `skip`. These numbers do not count broken pictures.
    """
    parts = []
    for file in files:
        rows = [row for name, row in broken_rows(files, found) if name == file.filename]
        before = sum(row < file.skip for row in rows)
        within = sum(file.skip <= row < file.skip + file.take for row in rows)
        parts.append(FilePart(file.filename, file.skip - before, file.take - within))
    return parts


def broken_rows(files: Sequence[Any], found: dict[str, str]) -> list[tuple[str, int]]:
    """Finds the files and the record numbers of pictures that cannot be decoded.

    Args:
      files: the file instructions of a split of tensorflow-datasets, with the attribute `filename`.
      found: {identifier `tfds_id` of an example that cannot be decoded: reason}; `broken` returns it.

    Returns:
      Pairs (path of the file, number of the record in it, from 0), one for each broken picture in `files`.
    """
    paths = {os.path.basename(file.filename): file.filename for file in files}
    located = (_located(identifier) for identifier in found)
    return [(paths[name], row) for name, row in located if name in paths]


def usable_records(path: tf.Tensor, broken_ones: Sequence[tuple[str, int]]) -> tf.data.Dataset:
    """Reads the records of a TFRecord file, without those of broken pictures.

    Args:
      path: the file, string [].
      broken_ones: pairs (path of the file, number of the record in it, from 0) of broken pictures.

    Returns:
      Dataset of serialised examples, string [].
    """
    records = tf.data.TFRecordDataset(path)
    if not broken_ones:
        return records
    paths, rows = (tf.constant(part) for part in zip(*broken_ones, strict=True))
    rows = tf.cast(rows, tf.int64)

    def is_usable(row: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all((paths != path) | (rows != row))

    return records.enumerate().filter(is_usable).map(lambda _, record: record)


def _located(identifier: str) -> tuple[str, int]:
    """Returns the name of the file and the number of the record that an identifier is made of."""
    name, _, row = identifier.rpartition('__')
    return os.path.basename(name), int(row)


def _state(builder: tfds.core.DatasetBuilder, split: str) -> list[list[Any]]:
    """Returns name, size and time of change of each file of a split."""
    stats = ((path.name, path.stat()) for path in builder.info.splits[split].filepaths)
    return [[name, stat.length, stat.mtime] for name, stat in stats]


def _read(builder: tfds.core.DatasetBuilder, split: str, state: list[list[Any]]) -> dict[str, str] | None:
    """Returns what an earlier search in the same files kept; None if there is nothing."""
    kept = _kept(builder).get(split)
    return dict(kept['broken']) if isinstance(kept, dict) and kept.get('files') == state else None


def _kept(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """Returns what earlier searches kept, {split: {'files', 'broken'}}; {} if there is nothing readable."""
    try:
        return parse_json((builder.data_path / _KEPT).read_text())
    except (OSError, tf.errors.OpError, ValueError):
        return {}


def _write(
    builder: tfds.core.DatasetBuilder, split: str, state: list[list[Any]], found: dict[str, str]
) -> None:
    """Keeps the result of a search beside the data; no-op if that place cannot be written to."""
    path = builder.data_path / _KEPT
    aside = builder.data_path / f'{_KEPT}.{os.getpid()}'
    with contextlib.suppress(OSError, tf.errors.OpError):
        kept = {**_kept(builder), split: {'files': state, 'broken': found}}
        aside.write_text(json.dumps(kept, indent=2))
        aside.replace(path)


def _search(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, str]:
    """Decodes all pictures of a split; returns {identifier: reason} of the broken ones."""
    count = builder.info.splits[split].num_examples
    print(f'checking {count:,} pictures of {split} in {builder.data_path}, once', flush=True)
    try:
        return {} if _all_sound(builder, split) else _one_by_one(builder, split)
    except tf.errors.OpError as error:
        raise unreadable(os.fspath(builder.data_path), error) from error


def _all_sound(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    """Returns whether all pictures can be decoded."""
    feature = tfds_features.image_feature(builder)
    # A value of the picture: TensorFlow would not decode it for the shape alone.
    corners = _encoded(builder, split).map(
        lambda example: decode(example[feature], builder)[0, 0, 0], THREADS
    )
    try:
        for _ in untuned(corners.batch(_BATCH)):
            pass
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _one_by_one(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, str]:
    """Decodes each picture by itself, so that errors belong to one picture."""
    feature = tfds_features.image_feature(builder)

    def problem(example: dict[str, Any]) -> tuple[str, str]:
        try:
            decode(example[feature], builder)
        except tf.errors.InvalidArgumentError as error:
            return example['tfds_id'].decode(), one_line(error)
        return example['tfds_id'].decode(), ''

    batches = untuned(_encoded(builder, split, identified=True)).batch(_CHECKED_AT_ONCE).as_numpy_iterator()
    found: dict[str, str] = {}
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for batch in batches:
            examples = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
            found |= {identifier: reason for identifier, reason in pool.map(problem, examples) if reason}
    return found


def _encoded(builder: tfds.core.DatasetBuilder, split: str, identified: bool = False) -> tf.data.Dataset:
    """Returns the examples of a split, with only the encoded pictures; see `_examples`."""
    decoders = {tfds_features.image_feature(builder): tfds.decode.SkipDecoding()}
    return _examples(builder, split, decoders, identified)


def _examples(
    builder: tfds.core.DatasetBuilder, split: str, decoders: dict[str, Any], identified: bool = False
) -> tf.data.Dataset:
    """Returns the examples of a split in a fixed order, as a dataset of dicts {feature: value}.

    Only the features in `decoders` are read; None is the default decoder. `identified` adds 'tfds_id'.
    """
    own = {name: decoder for name, decoder in decoders.items() if decoder}
    partial = tfds.decode.PartialDecoding(dict.fromkeys(decoders, True), decoders=own)
    reading = tfds.ReadConfig(try_autocache=False, add_tfds_id=identified)
    return builder.as_dataset(split=split, decoders=partial, read_config=reading, shuffle_files=False)


def usable_examples(
    builder: tfds.core.DatasetBuilder, split: str, decoders: dict[str, Any], found: dict[str, str]
) -> tf.data.Dataset:
    """Returns the examples of a split whose pictures can be decoded, a dataset of dicts {feature: value}.

    Args:
      builder: builder of a prepared dataset.
      split: name of the split in tensorflow-datasets.
      decoders: {name of each feature to read: its tensorflow-datasets decoder; None: the default decoder}.
      found: {identifier `tfds_id` of an example that cannot be decoded: reason}; `broken` returns it.
    """
    everything = _examples(builder, split, decoders, identified=bool(found))
    if not found:
        return everything
    left_out = tf.constant(sorted(found))
    return everything.filter(lambda example: tf.reduce_all(example['tfds_id'] != left_out))


def _report(builder: tfds.core.DatasetBuilder, split: str, found: dict[str, str]) -> None:
    """Warns of each broken picture; raises UserError if no other is left."""
    for (name, row), reason in sorted((_located(identifier), reason) for identifier, reason in found.items()):
        logging.warning('Skipped %s record %d, a broken image: %s', printable(name), row, reason)
    count = builder.info.splits[split].num_examples
    if found and len(found) == count:
        raise UserError(f'{builder.data_path} holds no usable image: all {count} of {split} are broken')
    if found:
        logging.warning('%d of %d images usable, %d broken', count - len(found), count, len(found))
