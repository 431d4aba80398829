"""Opens a directory of pictures, whose classes are sub-directories or are listed in a file."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, one_line, printable
from drl_tf.config import config
from drl_tf.data import picture_files
from drl_tf.data.opened import Opened, Pictures, number_classes

TEST_FOLDERS = ('test', 'validation', 'val')  # Beside `train`, the first with pictures is the test split.
_COLUMNS = ('file_name', 'label')


def open_data(data: config.Data) -> Opened:
    """Opens a directory of pictures; the pictures are in the order of their paths.

    If the directory has a folder `train` and a folder `test`, `validation` or `val`, these are the splits.
    Pictures outside of the splits are left out.
    The folders directly below the directory (or below the splits) are the classes. If some picture is in none
    of these folders, there are no classes. A table of labels replaces the folders as classes; pictures that
    it does not list are left out.

    Args:
      data: options of the dataset; `data_dir` is the directory. `labels_file` is the path of a table of
        labels, a CSV or JSONL file with `file_name` (relative to the directory) and `label`, or ''.

    Returns:
      An `Opened`, with the training pictures in `train`, the test pictures in `test`, and the number and the
      names of the classes. Without the two folders of splits, `test` is None.

    Raises:
      UserError: a directory is missing or cannot be read; there is no picture; the table of labels is missing
        or damaged; or the option `num_classes` is -1, which asks for classes, and a picture is in no folder
        of a class.
    """
    directory = data.data_dir
    place = f'--data_dir={directory}'
    if not directory:
        raise UserError('--dataset=folder needs --data_dir, the directory of your pictures')
    if not os.path.isdir(directory):
        raise UserError(f'{place} is not a directory: give the one of your pictures')
    paths = picture_files.find_pictures(directory)
    if not paths:
        raise UserError(f'{place} holds no picture ({", ".join(picture_files.FORMATS)})')
    labels_of: dict[str, int] | None = None
    names: tuple[str, ...] = ()
    if data.labels_file:
        place = f'--labels_file={data.labels_file}'
        paths, labels_of, names = _labelled(paths, directory, data.labels_file)
    splits = _splits(directory, paths)
    if labels_of is None:
        labels_of, names = _folders_of_classes(splits, data.num_classes == -1)
    train, *test = (_pictures(part, labels_of) for _, part in splits)
    return Opened(
        place=place,
        train=train,
        test=test[0] if test else None,
        num_classes=max(labels_of.values()) + 1 if labels_of else 0,
        class_names=names,
        every_20th=True,
    )


def _splits(directory: str, paths: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns (folder, paths) of each split: training and test, or only training without such folders."""
    for name in TEST_FOLDERS:
        roots = [os.path.join(directory, part) for part in ('train', name)]
        parts = [[path for path in paths if path.startswith(f'{root}{os.sep}')] for root in roots]
        if all(parts):
            left_out = len(paths) - sum(map(len, parts))
            if left_out:
                logging.warning(
                    '%s: left out %d pictures outside of train and %s', printable(directory), left_out, name
                )
            return list(zip(roots, parts, strict=True))
    return [(directory, list(paths))]


def _folders_of_classes(
    splits: Sequence[tuple[str, list[str]]], needed: bool
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Returns {path: class}, and the names of the classes, which are the names of the folders.

    If a picture lies in no folder, both are empty; if the classes are `needed`, UserError is raised instead.
    """
    folders = {}
    for root, paths in splits:
        for path in paths:
            first, separator, _ = os.path.relpath(path, root).partition(os.sep)
            if not separator and needed:
                raise UserError(
                    f'--num_classes=-1: {printable(path)} is in no folder of a class: move it into one, give '
                    '--labels_file, or drop the flag'
                )
            if not separator:
                return {}, ()
            folders[path] = first
    names = tuple(sorted(set(folders.values())))
    numbers = {name: number for number, name in enumerate(names)}
    return {path: numbers[name] for path, name in folders.items()}, names


def _pictures(paths: Sequence[str], labels_of: dict[str, int]) -> Pictures:
    return Pictures(
        count=len(paths),
        read=lambda index: _read(paths[index]),
        name=lambda index: paths[index],
        labels=np.array([labels_of[path] for path in paths], np.int32) if labels_of else None,
    )


def _read(path: str) -> np.ndarray:
    if not os.path.isfile(path):
        raise ValueError('no regular file')
    with open(path, 'rb') as file:
        return picture_files.read(file)


def _labelled(
    found: Sequence[str], directory: str, file: str
) -> tuple[list[str], dict[str, int], tuple[str, ...]]:
    """Returns three things: the sorted paths that a file of labels lists, {path: class}, and class names."""
    named: dict[str, str] = {}
    for name, label in _rows(file):
        known = named.setdefault(os.path.join(directory, os.path.normpath(name)), label)
        if known != label:
            raise UserError(f'--labels_file={file} gives {name} two labels, {known} and {label}: keep one')
    if not named:
        raise UserError(f'--labels_file={file} lists no picture: give each a line with file_name and label')
    unlisted = set(found) - set(named)
    if unlisted:
        logging.warning(
            '%s: left out %d pictures that are not in %s, such as %s',
            printable(directory), len(unlisted), printable(file), printable(min(unlisted)),
        )  # fmt: skip
    paths = sorted(named)
    if not set(found) & set(named):
        raise UserError(f'--labels_file={file} lists no picture of --data_dir={directory}, but {paths[0]}')
    labels, names = number_classes([named[path] for path in paths], f'--labels_file={file}')
    return paths, dict(zip(paths, labels.tolist(), strict=True)), names


def _rows(file: str) -> Iterator[tuple[str, str]]:
    """Yields (name, label) of each line of a CSV or JSONL file; raises UserError if it is broken."""
    kind = os.path.splitext(file)[1].lower()
    readers: dict[str, Callable] = {'.csv': csv.DictReader, '.jsonl': lambda lines: map(json.loads, lines)}
    if kind not in readers:
        raise UserError(f'--labels_file={file} must end in .csv or .jsonl')
    try:
        with open(file, encoding='utf-8-sig', newline='') as opened:
            lines = (line for line in opened if line.strip())
            for row in readers[kind](lines):
                missing = [name for name in _COLUMNS if row.get(name) in (None, '')]
                if missing:
                    raise UserError(
                        f'--labels_file={file} has a line without {missing[0]} ({_one_line_of(row)}): give '
                        'each picture a file_name and a label'
                    )
                yield str(row['file_name']), str(row['label'])
    except OSError as error:
        raise UserError(f'--labels_file={file} cannot be read ({error.strerror})') from error
    except (ValueError, AttributeError, csv.Error) as error:
        raise UserError(
            f'--labels_file={file} is damaged ({one_line(error)}): write a CSV or JSONL file with '
            'file_name and label'
        ) from error


def _one_line_of(row: dict) -> str:
    """Formats a row of a table, {column: value}, as JSON of at most 100 characters, for a message."""
    return json.dumps({key: value for key, value in row.items() if isinstance(key, str)})[:100]
