"""Small data of every kind that `--dataset` takes: 24 pictures of 2 classes, each of one grey level.

Picture i has the grey level 10 i, and the class i mod 2.
"""

import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from drl_tf.base.errors import UserError
from drl_tf.config import config
from drl_tf.data import dataset_table, facts, registry

COUNT = 24
KINDS = ('folder', 'npz', 'parquet', 'hf', 'tfds', 'tfrecords', 'python')
CLASSES = ('ant', 'bee')


def picture(index, size=(8, 8)):
    return np.full([*size, 3], 10 * index, np.uint8)


def png(index, size=(8, 8)):
    file = io.BytesIO()
    Image.fromarray(picture(index, size)).save(file, 'PNG')
    return file.getvalue()


def write(kind, directory):
    """Writes data of a kind; returns the options that read them."""
    return globals()[f'_{kind}'](directory)


def _folder(directory):
    for index in range(COUNT):
        path = directory / 'pictures' / CLASSES[index % 2] / f'{index:02}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(index))
    return ['--dataset=folder', f'--data_dir={directory}/pictures', '--image_size=8']


def arrays():
    images = np.stack([picture(index) for index in range(COUNT)])
    return {'images': images, 'labels': np.arange(COUNT) % 2}


def _npz(directory):
    np.savez(directory / 'data.npz', **arrays())
    return [f'--dataset=npz:{directory}/data.npz']


def hf_dataset():
    import datasets

    features = datasets.Features({'image': datasets.Image(), 'label': datasets.ClassLabel(names=[*CLASSES])})
    pictures = [{'bytes': png(index), 'path': None} for index in range(COUNT)]
    labels = [index % 2 for index in range(COUNT)]
    return datasets.Dataset.from_dict({'image': pictures, 'label': labels}, features=features)


def _parquet(directory):
    hf_dataset().to_parquet(directory / 'data.parquet')
    return [f'--dataset=parquet:{directory}/data.parquet', '--image_size=8']


def _hf(directory):
    import datasets

    datasets.DatasetDict({'train': hf_dataset()}).save_to_disk(directory / 'saved')
    return [f'--dataset=hf:{directory}/saved', '--image_size=8']


def store(directory, name='images', splits=('train',), image='image', label='label'):
    """Writes the pictures in the format of tensorflow-datasets; returns the directory of the version."""
    features = {
        image: tfds.features.Image(shape=(8, 8, 3)),
        label: tfds.features.ClassLabel(names=[*CLASSES]),
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name,
        '1.0.0',
        tfds.features.FeaturesDict(features),
        {
            split: ((index, {image: picture(index), label: index % 2}) for index in range(COUNT))
            for split in splits
        },
        data_dir=directory,
    )
    return builder.data_path


def rewrite(directory, change, split='train'):
    """Writes the one TFRecord file of a split anew; `change`, (number, record) -> record, None drops it."""
    (path,) = directory.glob(f'*-{split}.tfrecord*')
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as file:
        for number, record in enumerate(records):
            changed = change(number, record)
            if changed is not None:
                file.write(changed)


def with_broken_picture(record, image='image'):
    """A record of a dataset of tensorflow-datasets whose picture, of the same length, ends in zeros."""
    example = tf.train.Example.FromString(record)
    encoded = example.features.feature[image].bytes_list.value
    encoded[0] = encoded[0][:40].ljust(len(encoded[0]), b'\0')
    return example.SerializeToString()


def break_records(directory, rows, image='image', split='train'):
    """Breaks the pictures of some records; returns the numbers of the pictures that are left, in order."""
    left = []

    def change(number, record):
        if number in rows:
            return with_broken_picture(record, image)
        encoded = tf.train.Example.FromString(record).features.feature[image].bytes_list.value[0]
        left.append(int(tf.io.decode_image(encoded)[0, 0, 0]) // 10)
        return record

    rewrite(directory, change, split)
    return left


def _tfds(directory):
    """Files of a dataset whose code is nowhere, as of a colleague who ran `tfds build`."""
    store(directory / 'tfds', 'of_a_colleague', image='photo', label='kind')
    return ['--dataset=tfds:of_a_colleague', f'--data_dir={directory}/tfds']


def _tfrecords(directory):
    return [f'--dataset=tfrecords:{store(directory / "stored")}']


def _python(directory):
    def two_kinds(split):
        return tuple(arrays().values()) if split == 'train' else None

    name = f'two_kinds_{abs(hash(directory))}'
    registry.register_dataset(name)(two_kinds)
    return [f'--dataset={name}']


def refusal(dataset, **options):
    """Returns the message with which a dataset is refused before a picture is decoded."""
    with pytest.raises(UserError) as error:
        data = dataset_table.resolve(config.Data(dataset=str(dataset), **options))
        facts.check(data, dataset_table.find_spec(data.dataset))
    assert '\n' not in str(error.value)
    return str(error.value)
