"""Checks the arguments of the Python API; a wrong argument raises a `UserError` with the argument's name."""

import contextlib
import numbers
import os
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, one_line

LARGEST = 2**31 - 1
_LONGEST_SHOWN = 60


@contextlib.contextmanager
def named(**names: str) -> Iterator[None]:
    """Context manager that replaces command-line options in `UserError` messages by names of arguments.

    Within `named(workdir='model')`, the messages '--workdir=x is ...' and 'workdir=x is ...' become
    'model=x is ...'.

    Args:
      **names: {name of an option: name of the argument that replaces it}. Options that are not listed keep
        their names and lose their dashes: '--seed=x' becomes 'seed=x'.
    """
    try:
        yield
    except UserError as error:
        options = re.compile(r'--(\w+)|(?<![\w./=-])(\w+)(?==)')
        text = options.sub(lambda found: names.get(name := found[1] or found[2], name), str(error))
        raise UserError(text) from error


@overload
def number(name: str, value: Any, low: float, high: float = ..., whole: Literal[True] = ...) -> int: ...


@overload
def number(name: str, value: Any, low: float, high: float = ..., *, whole: Literal[False]) -> float: ...


def number(name: str, value: Any, low: float, high: float = LARGEST, whole: bool = True) -> float:
    """Checks an argument that must be a number, and returns it: an int if `whole`, else a float.

    Args:
      name: name of the argument, for the message.
      value: the argument.
      low: the smallest allowed value.
      high: the largest allowed value.
      whole: True: the number must be whole, and an int is returned.

    Raises:
      UserError: `value` is not a number (if `whole`: a whole number), or not within [low, high].
    """
    kind: Any = numbers.Integral if whole else numbers.Real  # Type checkers do not know that these compare.
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        wanted = 'whole number' if whole else 'number'
        raise UserError(f'{name}={_shown(value)} must be a {wanted} from {low} to {high}')
    return int(value) if whole else float(value)


def _shown(value: Any) -> str:
    """Formats an argument as one short line for a message."""
    if isinstance(value, (str, os.PathLike)):
        return str(value)
    return textwrap.shorten(str(value), _LONGEST_SHOWN, placeholder=' ...')


def path(name: str, value: Any, what: str = 'a path') -> str:
    """Checks an argument that must be a path, and returns it as text.

    Args:
      name: name of the argument, for the message.
      value: the argument, a str or `os.PathLike`.
      what: what the argument should be, such as 'a path', for the message.

    Raises:
      UserError: `value` is empty or no path.
    """
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str) or not found:
        raise UserError(f'{name}={_shown(value)} must be {what}')
    return found


def _array(name: str, value: Any) -> np.ndarray:
    """Converts the value of the argument `name` to a NumPy array; a UserError names it if that fails."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UserError(f'{name} must be an array ({one_line(error)})') from error


def each(name: str, value: Any, count: int, low: int, high: int) -> np.ndarray:
    """Checks an argument that is one whole number for all images, or one for each image.

    Args:
      name: name of the argument, for the message.
      value: the argument, one number or `count` of them.
      count: number of images.
      low: the smallest allowed number.
      high: the largest allowed number.

    Returns:
      The number for each image, int32 [count].

    Raises:
      UserError: `value` is neither one whole number nor `count` of them, or is below `low` or above `high`.
    """
    found = _array(name, value)
    if not np.issubdtype(found.dtype, np.integer) or found.shape not in ((), (count,)):
        raise UserError(f'{name} must be a whole number, or one for each of the {count} images')
    if found.min() < low or found.max() > high:
        raise UserError(f'{name} must be from {low} to {high}')
    return np.broadcast_to(found, [count]).astype(np.int32)


def images(name: str, value: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Checks images that a user gave, and converts them to float32 [n, H, W, C].

    Grey levels, uint8, are scaled to [-1, 1]. Floats keep their values, whose range is not checked.

    Args:
      name: name of the argument, for messages.
      value: array-like, uint8 or floats [n, H, W, C].
      shape: the required (H, W, C).

    Raises:
      UserError: `value` has a wrong shape or type, holds no image, or is not finite.
    """
    found = _array(name, value)
    if found.ndim != 4 or found.shape[1:] != shape or not len(found):
        wanted = ', '.join(map(str, shape))
        raise UserError(f'{name} of shape {found.shape} must be [n, {wanted}] with n from 1')
    if found.dtype == np.uint8:
        return pixels.from_levels(found.astype(np.float32))
    if not np.issubdtype(found.dtype, np.floating):
        raise UserError(f'{name} of type {found.dtype} must be uint8, or floats in [-1, 1]')
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise UserError(f'{name} must be finite')
    return found
