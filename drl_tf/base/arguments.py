"""Arguments of the Python API, held against what they must be: a wrong one is a `UserError` that names it."""

import contextlib
import numbers
import os
import re

import numpy as np

from drl_tf.base import pixels
from drl_tf.base.errors import UserError, one_line

LARGEST = 2**31 - 1


@contextlib.contextmanager
def named(**names):
    """Errors of options within the block name arguments: with workdir='model', --workdir=x is model=x."""
    try:
        yield
    except UserError as error:
        text = re.sub(r'--(\w+)', lambda option: names.get(option[1], option[1]), str(error))
        raise UserError(text) from error


def number(name, value, low, high=LARGEST, whole=True):
    """A whole number as an int, or any as a float; raises UserError for what is none from `low` to `high`."""
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(
            f'{name}={value} must be a {"whole number" if whole else "number"} from {low} to {high}'
        )
    return int(value) if whole else float(value)


def path(name, value, what='a path'):
    """A path that is not empty, as text; raises UserError for anything else."""
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str) or not found:
        raise UserError(f'{name}={value} must be {what}')
    return found


def array(name, value):
    """What `value` is as a NumPy array; raises UserError where it is none, such as rows of unequal
    lengths."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UserError(f'{name} must be an array ({one_line(error)})') from error


def each(name, value, count, low, high):
    """A whole number of each image, int32 [count], of one for all or of as many; raises UserError for
    anything else."""
    found = array(name, value)
    if not np.issubdtype(found.dtype, np.integer) or found.shape not in ((), (count,)):
        raise UserError(f'{name} must be a whole number, or one for each of the {count} images')
    if found.min() < low or found.max() > high:
        raise UserError(f'{name} must be from {low} to {high}')
    return np.broadcast_to(found, [count]).astype(np.int32)


def images(name, value, shape):
    """Images as float32 [n, H, W, C]: uint8 becomes [-1, 1], floats stay.

    Args:
      name: of the argument.
      value: what was given.
      shape: (H, W, C) that they must have.

    Raises:
      UserError: they are of another shape or type, or not finite.
    """
    found = array(name, value)
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
