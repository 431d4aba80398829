"""The user's own data after opening: pictures that can be read in any order, and their classes."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from drl_tf.base.errors import UserError, printable

MOST_CLASSES = 100_000
NO_CLASS = '-1'
_MOST_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of a split, which can be read one by one in any order.

    Attributes:
      count: number of pictures.
      read: function of an index, which returns the picture, uint8 [h, w, c] with c = 1 or 3. If the picture
        is broken, it may raise an error of any kind.
      name: function of an index, which returns the name of the picture, for messages.
      labels: class of each picture, from 0, or -1 for no class, int [count]; None if there are no classes.
      uniform: True if all pictures are known to have the same shape.
    """

    count: int
    read: Callable[[int], np.ndarray]
    name: Callable[[int], str]
    labels: np.ndarray | None = None
    uniform: bool = False


@dataclasses.dataclass(frozen=True)
class Opened:
    """The user's data: training pictures, held-out pictures and classes.

    Attributes:
      place: the option that says where the data are, for messages, such as '--data_dir=pictures'.
      train: the pictures to train on, a `Pictures`.
      test: the held-out pictures, a `Pictures`; None: one picture in twenty of `train` is to be held out.
      num_classes: number of classes; 0 if the pictures have no labels.
      class_names: the name of each class; empty if the labels are numbers.
      image_shape: (H, W, C) if all pictures are known to have the same shape, else None.
      every_20th: which pictures are held out if `test` is None. True: every 20th; False: random ones.
    """

    place: str
    train: Pictures
    test: Pictures | None = None
    num_classes: int = 0
    class_names: Sequence[str] = ()
    image_shape: tuple[int, int, int] | None = None
    every_20th: bool = False


def number_classes(values: Sequence[object], place: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turns the labels of pictures, words or numbers, into class numbers.

    If all labels are whole numbers from 0, they are the class numbers; the label -1 means no class. Otherwise
    the distinct labels are sorted alphabetically, and the position of a label, from 0, is its class number.

    Args:
      values: a label for each of N pictures.
      place: where the labels come from, such as a file name, for the message.

    Returns:
      Pair of the class of each picture, int32 [N], and the names of the classes, a tuple, () for whole
      numbers.

    Raises:
      UserError: a label is missing or too large.

    Examples:
      >>> from drl_tf.data.opened import number_classes
      >>> number_classes(['cat', 'ant', 'cat'], 'labels.csv')
      (array([1, 0, 1], dtype=int32), ('ant', 'cat'))
      >>> number_classes(['0', '2'], 'labels.csv')
      (array([0, 2], dtype=int32), ())
      >>> number_classes([-1, 2], 'labels.parquet')
      (array([-1,  2], dtype=int32), ())
    """
    words = ['' if value is None else str(value) for value in values]
    if '' in words:
        raise UserError(f'{place}: picture {words.index("")} has no label: give each picture one')
    if all(word.isdecimal() or word == NO_CLASS for word in words):
        numbers = [int(word) for word in words]
        if max(numbers, default=0) >= MOST_CLASSES:
            raise UserError(f'{place}: label {max(numbers)} must be below {MOST_CLASSES:,}')
        return np.array(numbers, np.int32), ()
    names = tuple(sorted(set(words)))
    number_of = {name: number for number, name in enumerate(names)}
    return np.array([number_of[word] for word in words], np.int32), names


def warn_of_unlabelled(labels: np.ndarray | None, place: str, split: str) -> None:
    """Warns if some pictures of a split have no class.

    A model with classes uses such pictures only to learn the density of all classes together.

    Args:
      labels: class of each picture, -1 for no class, int [N]; None: no warning.
      place: where the data are, for the message.
      split: name of the split, for the message.
    """
    missing = 0 if labels is None else int((labels < 0).sum())
    if labels is not None and missing:
        logging.warning(
            '%s: %d of %d pictures of the %s split have no class (label -1)',
            printable(place), missing, len(labels), split,
        )  # fmt: skip


def check_classes(found: int, wanted: int, place: str) -> None:
    """Checks that data have the classes of the model.

    Args:
      found: number of classes of the data.
      wanted: number of classes of the model.
      place: where the data are, for the message.

    Raises:
      UserError: the numbers differ.

    Examples:
      >>> check_classes(10, 10, '--dataset=npz:digits.npz')
    """
    if found != wanted:
        raise UserError(
            f'{place} has {found} classes, and --num_classes={wanted}: give the data of the run, or train '
            'anew with --num_classes=-1'
        )


def warn_of_untrained(labels: np.ndarray, opened: Opened) -> None:
    """Warns if some classes have no training picture, so that a model cannot learn them.

    Args:
      labels: class of each training picture, -1 for no class, int [N].
      opened: the data, with the number and the names of their classes.
    """
    missing = sorted(set(range(opened.num_classes)).difference(labels.tolist()))
    if missing:
        names = [opened.class_names[number] if opened.class_names else number for number in missing]
        listed = ', '.join(map(printable, names[:_MOST_NAMED]))
        logging.warning(
            '%s: %d of %d classes have no picture to train on, and the model does not learn them: %s%s. Add '
            'pictures, or number the classes from 0 without gaps, and train anew',
            printable(opened.place), len(missing), opened.num_classes, listed,
            ', ..' if len(names) > _MOST_NAMED else '',
        )  # fmt: skip


def count_classes(*labels: np.ndarray | None) -> int:
    """Returns the number of classes: the largest label plus 1, or 0 without labels.

    Args:
      *labels: the labels of each split, int [N]: class numbers from 0 up, and -1 for an image
        without a class. None for a split without labels.

    Examples:
      >>> from drl_tf.data.opened import count_classes
      >>> count_classes(np.array([0, 3]), None)
      4
    """
    return max((int(part.max()) + 1 for part in labels if part is not None and part.size), default=0)
