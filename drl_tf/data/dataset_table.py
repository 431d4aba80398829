"""Finds the description of a dataset, and fills in options that depend on the data."""

import dataclasses
import difflib
import re

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import facts, registry
from drl_tf.data.dataset_spec import DatasetSpec
from drl_tf.data.known_datasets import DATASETS, KINDS, PLACED


def find_spec(name: str) -> DatasetSpec:
    """Returns the description of a dataset.

    Args:
      name: the value of --dataset: a name such as 'digits', 'KIND:NAME' such as 'tfds:mnist' or 'npz:FILE',
        or a name that is registered with `registry.register_dataset`.

    Raises:
      UserError: there is no such dataset; the message lists all names, and suggests the closest.
    """
    kind, _, rest = name.partition(':')
    if name in DATASETS:
        return DATASETS[name]
    if kind in PLACED and rest:
        return DATASETS[kind]
    if kind in KINDS:
        if not rest:
            raise UserError(f'--dataset={name} lacks a name: give --dataset={kind}:NAME')
        registered = registry.find(rest) if kind == 'python' else None
        if registered:
            return registered.spec
        tfds_name = rest if kind == 'tfds' else ''
        note = f'{rest}, {KINDS[kind].note}'
        return dataclasses.replace(KINDS[kind], tfds_name=tfds_name, note=note)
    registered = registry.find(name)
    if registered:
        return registered.spec
    names = [*DATASETS, *registry.names()]
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f', did you mean {close[0]}?' if close else ':'
    kinds = ', '.join(f'{kind}:NAME' for kind in KINDS)
    raise UserError(f'--dataset={name} is unknown{hint} There are {", ".join(names)}, {kinds}')


def is_own(name: str) -> bool:
    """Returns whether a dataset is not built in, so that its contents are known only when it is opened.

    Args:
      name: the value of --dataset. The result is True for names such as 'folder', 'npz:FILE', 'tfds:NAME' or
        'hf:NAME', and for names registered with `registry.register_dataset`. It is False for built-in
        datasets such as 'digits'.
    """
    return find_spec(name).num_classes == -1


def mirrors(data: config.Data) -> bool:
    """Returns whether training on a dataset mirrors images at random, left to right.

    Args:
      data: options of the dataset.
    """
    return find_spec(data.dataset).flip if data.flip == 'auto' else data.flip == 'yes'


def file_name(name: str) -> str:
    """Turns the name of a dataset, a value of --dataset, into text that is safe in a file name.

    Examples:
      >>> from drl_tf.data import dataset_table
      >>> dataset_table.file_name('tfds:imagenet_resized/8x8')
      'tfds_imagenet_resized_8x8'
    """
    return re.sub(r'[^\w.-]+', '_', name)


def resolve(data: config.Data) -> config.Data:
    """Fills in the image size, the channels and the number of classes where they are left to the dataset.

    The values come from the description of the dataset, or else from the data. For `--dataset=KIND:PATH`,
    such as folder:DIR, `dataset` becomes KIND and the option `data_dir` becomes PATH.

    Args:
      data: options of the dataset. Filled in are `image_size` and `image_channels` if they are 0, and
        `num_classes` if it is -1; num_classes=0 stays, for a model without classes.

    Returns:
      The options with these values.

    Raises:
      UserError: the dataset is unknown, missing or damaged, or does not come in this size, or with these
        channels or classes.

    Example:
      resolve(Data(dataset='celeb_a')).image_size  # 64
    """
    spec = find_spec(data.dataset)
    data = _placed(data)
    known = _known(data, spec)
    height, width, own_channels = known.image_shape
    size = data.image_size or height
    if spec.image_sizes and size not in spec.image_sizes:
        sizes = ', '.join(map(str, spec.image_sizes))
        raise UserError(f'--image_size={size} must be one of {sizes} for --dataset={data.dataset}')
    channels = data.image_channels or own_channels
    if (channels == 2) != (own_channels == 2):
        raise UserError(
            f'--image_channels={channels} does not go with --dataset={data.dataset}; drop the flag'
        )
    if not data.image_size and not data.image_width and width != height:
        data = dataclasses.replace(data, image_width=width)
    if data.image_width == size:
        data = dataclasses.replace(data, image_width=0)
    _check_options(data, spec, size)
    classes = _classes(data, spec, known.num_classes)
    return dataclasses.replace(data, image_size=size, image_channels=channels, num_classes=classes)


def _placed(data: config.Data) -> config.Data:
    """Splits `--dataset=KIND:PLACE` into the dataset KIND and the `data_dir` PLACE, and completes a name.

    The name of a registered dataset becomes `python:NAME`. Runs store this name, so that modes which need no
    data work where the dataset is not registered.
    """
    kind, colon, place = data.dataset.partition(':')
    if data.dataset in registry.names():
        return dataclasses.replace(data, dataset=f'python:{data.dataset}')
    if not colon or kind not in PLACED:
        return data
    if data.data_dir not in ('', place):
        raise UserError(f'--data_dir={data.data_dir} and --dataset={data.dataset}: drop one of them')
    return dataclasses.replace(data, dataset=kind, data_dir=place)


def _known(data: config.Data, spec: DatasetSpec) -> facts.Facts:
    """Returns shape and number of classes; opens the data only if an option needs what `spec` leaves open."""
    is_open = (not data.image_size and not spec.image_size) or (
        not data.image_channels and not spec.image_channels
    )
    if is_open or (data.num_classes == -1 and spec.num_classes == -1):
        return facts.look(data, spec)
    size = spec.image_size or data.image_size
    channels = spec.image_channels or data.image_channels
    return facts.Facts((size, size, channels), spec.num_classes)


def _classes(data: config.Data, spec: DatasetSpec, found: int) -> int:
    """Returns the model's number of classes; `found` is the dataset's, or -1 if the data were not opened."""
    classes = data.num_classes
    if found == -1:  # `indexed` and `tfds_datasets` compare `classes` with the data later.
        return classes
    if classes and not found:
        raise UserError(f'--num_classes={classes}: --dataset={data.dataset} has no classes; drop the flag')
    if classes not in (-1, 0, found):
        raise UserError(f'--num_classes={classes} must be 0, -1 or {found} for --dataset={data.dataset}')
    return found if classes == -1 else classes


def builder_name(data: config.Data) -> str:
    """Returns the name of a dataset in tensorflow-datasets, 'builder' or 'builder/configuration'.

    Args:
      data: options of the dataset; `dataset_table.resolve` has filled in its image size, channels and number
        of classes.
    """
    name = find_spec(data.dataset).tfds_name
    if is_own(data.dataset):
        return name
    prepared = f'_{data.prepare_size}px' if data.prepare_size else ''
    return name.format(size=data.image_size, prepared=prepared)


def _check_options(data: config.Data, spec: DatasetSpec, size: int) -> None:
    """Raises UserError if a flag does not apply to the dataset, or if --prepare_size is too small."""
    if data.manual_dir and spec.source != 'tfds':
        raise UserError(
            f'--manual_dir={data.manual_dir}: --dataset={data.dataset} needs no archive; drop the flag'
        )
    if data.labels_file and spec.source != 'folder':
        raise UserError(
            f'--labels_file={data.labels_file} is for --dataset=folder, not for --dataset={data.dataset}; '
            'drop the flag'
        )
    if data.prepare_size and '{prepared}' not in spec.tfds_name:
        raise UserError(
            f'--prepare_size={data.prepare_size} is for the LSUN datasets, not for '
            f'--dataset={data.dataset}; drop the flag'
        )
    if data.image_width and (spec.crop != 'square' or data.prepare_size):
        raise UserError(
            f'--image_width={data.image_width} crops rectangles, but the pictures of '
            f'--dataset={data.dataset} become squares; drop the flag'
        )
    if data.flip != 'auto' and spec.source == 'toy':
        raise UserError(f'--flip mirrors images, and --dataset={data.dataset} has points; drop the flag')
    if 0 < data.prepare_size < size:
        raise UserError(f'--prepare_size={data.prepare_size} must be 0 or at least --image_size={size}')
