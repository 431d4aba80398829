"""Opens datasets of the Hugging Face Hub, and Parquet files, with the library `datasets`."""

import functools
import glob
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from drl_tf.base.errors import UserError, one_line
from drl_tf.config import config
from drl_tf.data import picture_files
from drl_tf.data.opened import Opened, Pictures, count_classes, number_classes

_ANSWER_SECONDS = 3
_TEST_SPLITS = ('test', 'validation', 'valid', 'val')
_IMAGES = ('image', 'img', 'images')  # Usual names of the column of pictures.
_LABELS = ('label', 'labels', 'fine_label')


def open_hub(data: config.Data) -> Opened:
    """Opens a dataset of the Hugging Face Hub, `--dataset=hf:NAME[:CONFIG]`.

    NAME may also be a local directory: a clone of a dataset's repository, or what `save_to_disk` wrote for a
    `Dataset` (one split) or a `DatasetDict` (several). Downloads go to the cache of the library `datasets`.

    Args:
      data: options of the dataset; `data_dir` is a directory for downloads instead of this cache, or ''.

    Returns:
      An `Opened`. It holds the training pictures and the test pictures, each with their classes, and the
      number and names of the classes. The test pictures are None if the data have no test split.

    Raises:
      UserError: the library is missing, there is no such dataset, or it has no pictures.
    """
    place = f'--dataset={data.dataset}'
    library = _library(place)
    name, _, configuration = data.dataset.removeprefix('hf:').partition(':')
    if os.path.exists(os.path.join(name, 'dataset_dict.json')):
        return _opened(_loaded(place, lambda: library.load_from_disk(name)), place)
    if os.path.exists(os.path.join(name, 'state.json')):  # A single split.
        return _opened({'train': _loaded(place, lambda: library.load_from_disk(name))}, place)
    if name.startswith(('/', '.', '~')) and not os.path.isdir(name):
        raise UserError(
            f'{place} is no directory here: give --dataset=hf:DIRECTORY with the one of your data'
        )
    if not os.path.isdir(name) and not _is_hub_there(_endpoint()):
        _stay_offline(library)
    options = {'cache_dir': data.data_dir or None}
    return _opened(
        _loaded(place, lambda: library.load_dataset(name, configuration or None, **options)), place
    )


def open_parquet(data: config.Data) -> Opened:
    """Opens a dataset in one or more Parquet files.

    In a directory, a file holds the test split if its name, or that of a folder on the way to it, starts with
    `test` or `val`.

    Args:
      data: options of the dataset; `data_dir` is a Parquet file or a directory of such files.

    Returns:
      An `Opened`. It holds the training pictures and the test pictures, each with their classes, and the
      number and names of the classes. The test pictures are None if the data have no test split.

    Raises:
      UserError: the library `datasets` or a file is missing, or a file is damaged or has no column of
        pictures.
    """
    place = f'--dataset=parquet:{data.data_dir}'
    if not data.data_dir:
        raise UserError('--dataset=parquet needs files: give --dataset=parquet:FILE_OR_DIR')
    files = _parquet_files(data.data_dir, place)
    library = _library(place)
    return _opened(_loaded(place, lambda: library.load_dataset('parquet', data_files=files)), place)


def _parquet_files(path: str, place: str) -> dict[str, list[str]]:
    """Finds the Parquet files at a path; returns {'train' or 'test': paths}."""
    if os.path.isfile(path):
        return {'train': [path]}
    found = sorted(glob.glob(os.path.join(glob.escape(path), '**', '*.parquet'), recursive=True))
    test = [file for file in found if _is_of_test_split(os.path.relpath(file, path))]
    train = [file for file in found if file not in test]
    if not train:
        raise UserError(f'{place}: there is no Parquet file of the training split')
    return {'train': train, 'test': test} if test else {'train': train}


def _is_of_test_split(path: str) -> bool:
    return any(part.startswith(_TEST_SPLITS) for part in path.split(os.sep))


def _library(place: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{place} needs the library datasets: install it with `pip install 'drl_tf[hf]'`"
        ) from error
    datasets.disable_progress_bars()
    return datasets


def _endpoint() -> str:
    import huggingface_hub

    return huggingface_hub.constants.ENDPOINT


@functools.cache
def _is_hub_there(endpoint: str) -> bool:
    """Returns whether the Hub answers within 3 seconds; the library itself would try for half a minute."""
    import requests

    try:
        requests.head(endpoint, timeout=_ANSWER_SECONDS)
    except requests.RequestException:
        return False
    return True


def _stay_offline(library: Any) -> None:
    """Makes the library use only its cache."""
    import huggingface_hub

    huggingface_hub.constants.HF_HUB_OFFLINE = True
    library.config.HF_HUB_OFFLINE = True


def _loaded(place: str, load: Any) -> Any:
    """Calls a loading function of the library; raises UserError if it fails."""
    try:
        return load()
    except Exception as error:  # The library, and the files' readers, raise errors of many kinds.
        raise UserError(
            f'{place} cannot be read ({one_line(error)}): check the name, the files and the network'
        ) from error


def _opened(splits: Mapping[str, Any], place: str) -> Opened:
    """Finds training and test split, column of pictures and column of labels in what the library loaded."""
    names = list(splits)
    train = 'train' if 'train' in splits else names[0]
    test = next((name for name in _TEST_SPLITS if name in splits and name != train), None)
    columns = splits[train].features
    images = _column_of_images(columns, place)
    labels = _column_of_labels(columns)
    read = [name for name in (train, test) if name]
    lost = {name for name in (images, labels) if name} - set(splits[read[-1]].features)
    if lost:
        raise UserError(f'{place}: its split {read[-1]} has no column {", ".join(sorted(lost))}: give it one')
    numbers, class_names = _classes([splits[name] for name in read], labels, place)
    parts = [_pictures(splits[name], images, name, part) for name, part in zip(read, numbers, strict=True)]
    count = len(class_names) or count_classes(*numbers)
    return Opened(
        place=place,
        train=parts[0],
        test=parts[1] if test else None,
        num_classes=count,
        class_names=class_names,
    )


def _column_of_images(columns: Mapping[str, Any], place: str) -> str:
    """Returns the name of the column that holds pictures: of type `Image`, or encoded files as bytes."""
    import datasets

    kinds = [name for name, kind in columns.items() if isinstance(kind, datasets.Image)]
    if not kinds:
        kinds = [name for name, kind in columns.items() if _holds_bytes(kind)]
    if not kinds:
        raise UserError(
            f'{place} has no column of pictures: its columns are {", ".join(columns)}; give another dataset'
        )
    return next((name for name in _IMAGES if name in kinds), kinds[0])


def _holds_bytes(kind: Any) -> bool:
    if isinstance(kind, dict):
        kind = kind.get('bytes')
    return getattr(kind, 'dtype', None) in ('binary', 'large_binary')


def _column_of_labels(columns: Mapping[str, Any]) -> str | None:
    """Returns the name of the column of classes; None if there is none.

    It is a usual name, such as 'label', or the name of the only column of type `ClassLabel`.
    """
    import datasets

    usual = [name for name in _LABELS if getattr(columns.get(name), 'dtype', '') in _WORDS_AND_NUMBERS]
    typed = [name for name, kind in columns.items() if isinstance(kind, datasets.ClassLabel)]
    if usual:
        return usual[0]
    return typed[0] if len(typed) == 1 else None


_WORDS_AND_NUMBERS = ('string', 'large_string', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16')


def _classes(
    splits: list[Any], column: str | None, place: str
) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Returns the classes of each split (None for a split without classes), and the names of the classes."""
    import datasets

    if column is None:
        return [None] * len(splits), ()
    values = [split[column] for split in splits]
    kind = splits[0].features[column]
    if isinstance(kind, datasets.ClassLabel):
        labels = [np.array([-1 if value is None else value for value in part], np.int32) for part in values]
        if (labels[0] < 0).all():  # A split without labels holds -1.
            return [None] * len(splits), ()
        return list(labels), tuple(kind.names)
    flat, names = number_classes([value for part in values for value in part], place)
    ends = np.cumsum([len(part) for part in values])
    return list(np.split(flat, ends[:-1])), names


def _pictures(split: Any, column: str, name: str, labels: np.ndarray | None) -> Pictures:
    import datasets

    encoded = split.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def read(index: int) -> np.ndarray:
        found = encoded[index][column]
        if found is None:
            raise ValueError('no picture')
        if found['bytes'] is not None:
            return picture_files.read(io.BytesIO(found['bytes']))
        with open(found['path'], 'rb') as file:
            return picture_files.read(file)

    return Pictures(count=len(encoded), read=read, name=lambda index: f'{name} row {index}', labels=labels)
