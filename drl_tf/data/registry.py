"""Registers the user's own Python functions as datasets, by a decorator or by an entry point of a package."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

from drl_tf.base.errors import UserError, one_line
from drl_tf.data.dataset_spec import DatasetSpec
from drl_tf.data.known_datasets import DATASETS, KINDS

GROUP = 'drl_tf.datasets'  # The group of entry points.
Function = Callable[[str], Any]
_registered: dict[str, 'Registered'] = {}


@dataclasses.dataclass(frozen=True)
class Registered:
    """A dataset that the user has registered.

    Attributes:
      spec: a `DatasetSpec`, which describes the dataset, for instance its default image size.
      function: the user's function. It is called with 'train' or 'test', and returns images or a pair
        (images, labels). For 'test', it may return None.
    """

    spec: DatasetSpec
    function: Function


def register_dataset(name: str, *, image_size: int = 0, flip: bool = False) -> Callable[[Function], Function]:
    """Decorator that registers a function as a dataset, for `--dataset=NAME`.

    The function is called with 'train' or 'test', and returns images, or a pair (images, labels). The images
    are an array [N, H, W, C], a list, or any object with `len` and `[index]`; each picture is uint8 [h, w],
    [h, w, 1] or [h, w, 3], of any size. The labels are whole numbers from 0, or -1 for no class, [N]. For
    'test', the function may return None: one training picture in twenty is then held out at random.

    A package can register a function without this decorator, by an entry point in the group `drl_tf.datasets`
    whose name is the name of the dataset.

    Args:
      name: the value of --dataset; it must not contain a colon.
      image_size: default height and width in pixels; 0: the size of the images if all have the same, else 32.
      flip: whether training mirrors images at random, left to right.

    Raises:
      UserError: the name is empty, contains a colon, or is the name of a built-in dataset.

    Examples:
      >>> from drl_tf.data import registry
      >>> @registry.register_dataset('half_grey')
      ... def half_grey(split):
      ...     return np.full([40, 8, 8, 1], 127, np.uint8) if split == 'train' else None
      >>> registry.find('half_grey').spec.source
      'python'
    """
    if not name or ':' in name or name in DATASETS:
        raise UserError(f'a dataset cannot be registered as {name!r}: give another name, without a colon')

    def register(function: Function) -> Function:
        note = next(iter((function.__doc__ or '').strip().splitlines()), '').removesuffix('.')
        spec = dataclasses.replace(
            KINDS['python'], image_size=image_size, flip=flip, note=note or KINDS['python'].note
        )
        _registered[name] = Registered(spec, function)
        return function

    return register


def find(name: str) -> Registered | None:
    """Returns the registered dataset with a name; None if there is none.

    Raises:
      UserError: a package registers the dataset by an entry point, which cannot be loaded.

    Examples:
      >>> from drl_tf.data import registry
      >>> registry.find('nobody_registered_this') is None
      True
    """
    if name not in _registered and name in _entry_points():
        point = _entry_points()[name]
        try:
            function = point.load()
        except Exception as error:  # The entry point runs code of another package.
            raise UserError(
                f'--dataset={name}: its entry point {point.value} cannot be loaded ({one_line(error)}): '
                'repair or remove the package'
            ) from error
        if name not in _registered:  # Loading the entry point may already have run the decorator.
            register_dataset(name)(function)
    return _registered.get(name)


def names() -> Sequence[str]:
    """Returns the names of all registered datasets, sorted, including those of entry points.

    Examples:
      Built-in datasets, such as 'digits', are not among them:
      >>> from drl_tf.data import registry
      >>> 'digits' in registry.names()
      False
    """
    return sorted({*_registered, *_entry_points()})


def forget() -> None:
    """Drops the list of entry points; the next call of `find` or `names` searches the packages again.

    Datasets that have already been registered stay.
    """
    _entry_points.cache_clear()


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
