"""Archives of the published structure, small and made here, through --manual_dir: each stock builder is
really run."""

import dataclasses
import gzip
import hashlib
import io
import pathlib
import struct
import typing
import zipfile

import numpy as np
import pytest
import scipy.io
import tensorflow as tf
import tensorflow_datasets as tfds
from helpers.archives import data_of, tar

from drl_tf.base.errors import UserError
from drl_tf.data import asking, dataset_table, images, pipeline, tfds_datasets
from drl_tf.tools.photographs import encoded, photographs

TRAIN, TEST = 6, 3


def packed(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def mnist(splits):
    archives = {}
    for prefix, (pictures, labels) in zip(('train', 't10k'), splits, strict=True):
        archives[f'{prefix}-images-idx3-ubyte.gz'] = gzip.compress(
            struct.pack('>4i', 2051, *pictures.shape[:3]) + pictures.tobytes()
        )
        archives[f'{prefix}-labels-idx1-ubyte.gz'] = gzip.compress(
            struct.pack('>2i', 2049, len(labels)) + labels.astype(np.uint8).tobytes()
        )
    return archives


def cifar_rows(pictures, *labels):
    return b''.join(
        bytes(row) + picture.transpose(2, 0, 1).tobytes()
        for *row, picture in zip(*labels, pictures, strict=True)
    )


def cifar10(splits):
    names = '\n'.join(f'kind {number}' for number in range(10)).encode()
    (train, labels), test = splits
    parts = {
        f'data_batch_{n + 1}.bin': cifar_rows(train[n : n + 1 + n // 4], labels[n : n + 1 + n // 4])
        for n in range(5)
    }
    files = {'batches.meta.txt': names, 'test_batch.bin': cifar_rows(*test), **parts}
    return {
        'cifar-10-binary.tar.gz': tar(
            {f'cifar-10-batches-bin/{name}': data for name, data in files.items()}, 'w:gz'
        )
    }


def cifar100(splits):
    files = {
        f'{kind}_label_names.txt': '\n'.join(f'{kind} {number}' for number in range(count)).encode()
        for kind, count in (('coarse', 20), ('fine', 100))
    }
    for name, (pictures, labels) in zip(('train', 'test'), splits, strict=True):
        files[f'{name}.bin'] = cifar_rows(pictures, [19 - label for label in labels], labels)
    return {
        'cifar-100-binary.tar.gz': tar(
            {f'cifar-100-binary/{name}': data for name, data in files.items()}, 'w:gz'
        )
    }


def svhn_cropped(splits):
    archives = {}
    for name, (pictures, labels) in zip(('train', 'test', 'extra'), [*splits, splits[1]], strict=True):
        content = io.BytesIO()
        labels = np.where(labels == 0, 10, labels)[:, None]  # Nought is class 10 in the published files.
        scipy.io.savemat(content, {'X': pictures.transpose(1, 2, 3, 0), 'y': labels.astype(np.uint8)})
        archives[f'{name}_32x32.mat'] = content.getvalue()
    return archives


def imagenet32(splits):
    archives = {}
    for name, (pictures, labels) in zip(('train', 'val'), splits, strict=True):
        content = io.BytesIO()
        np.savez(
            content,
            data=pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1),
            labels=labels.astype(np.int64) + 1,
        )
        archives[f'Imagenet32_{name}_npz.zip'] = packed({f'{name}_data_batch_1.npz': content.getvalue()})
    return archives


def put(archives, directory, builder, monkeypatch):
    """Writes archives as if fetched by hand, and has their sizes and checksums expected."""
    directory.mkdir(parents=True)
    urls = {archive.name: archive.url for archive in asking.wanted(builder)}
    assert set(archives) == set(urls)
    for name, content in archives.items():
        (directory / name).write_bytes(content)
        info = tfds.download.checksums.UrlInfo(len(content), hashlib.sha256(content).hexdigest(), name)
        monkeypatch.setitem(builder.url_infos, urls[name], info)


@pytest.mark.parametrize(
    ('make', 'shape', 'classes'),
    [(mnist, (28, 28, 1), 10), (cifar10, (32, 32, 3), 10), (cifar100, (32, 32, 3), 100), (svhn_cropped, (32,
    32, 3), 10),
     (imagenet32, (32, 32, 3), 1000)],
)  # fmt: skip
def test_images_and_classes_are_those_in_the_archives(tmp_path, monkeypatch, make, shape, classes):
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TRAIN_EXAMPLES', TRAIN)
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TEST_EXAMPLES', TEST)
    draws = np.random.default_rng(0)
    splits = [
        (draws.integers(0, 256, (n, *shape), np.uint8), draws.integers(0, min(classes, 20), n))
        for n in (TRAIN, TEST)
    ]
    data = data_of(make.__name__, tmp_path)
    builder = tfds_datasets.make_builder(dataset_table.builder_name(data), data.data_dir)
    put(make(splits), tmp_path / 'manual', builder, monkeypatch)
    for split, (pictures, labels) in zip(('train', 'test'), splits, strict=True):
        expected = zip(images.crop_and_resize(pictures, data).numpy(), labels, strict=True)
        found = zip(pipeline.load_images(data, split), pipeline.load_labels(data, split), strict=True)
        assert sorted((image.tobytes(), label) for image, label in found) == sorted(
            (image.tobytes(), label) for image, label in expected
        )
    assert [
        path.name for path in (tmp_path / 'data/downloads').iterdir() if path.name.startswith('at_work')
    ] == []


def test_archives_of_the_same_names_lie_in_directories_of_their_datasets(tmp_path, monkeypatch):
    """Those of mnist beside others, such as those of tfds:fashion_mnist."""
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TRAIN_EXAMPLES', TRAIN)
    monkeypatch.setattr('tensorflow_datasets.image_classification.mnist._TEST_EXAMPLES', TEST)
    splits = [(np.full([n, 28, 28, 1], n, np.uint8), np.zeros(n)) for n in (TRAIN, TEST)]
    data = dataclasses.replace(data_of('mnist', tmp_path), manual_dir='')
    builder = tfds_datasets.make_builder('mnist', data.data_dir)
    downloaded = tmp_path / 'data' / 'downloads'
    put(mnist(splits), downloaded / 'mnist', builder, monkeypatch)
    for name in mnist(splits):
        (downloaded / name).write_bytes(b'of another dataset')
    assert len(pipeline.load_images(data, 'train')) == TRAIN


class Listed(tfds.core.GeneratorBasedBuilder):
    """Must read a list to know the next archive, so it cannot be asked for both before."""

    name = 'listed'
    VERSION = tfds.core.Version('1.0.0')
    url_infos: typing.ClassVar = {
        f'http://nowhere.invalid/{name}': tfds.download.checksums.UrlInfo(
            len(content), hashlib.sha256(content).hexdigest(), name
        )
        for name, content in {'list.txt': b'more.txt', 'more.txt': b'7'}.items()
    }

    def __init__(self, *, config=None, **kwargs):
        super().__init__(**kwargs)

    def _info(self):
        features = tfds.features.FeaturesDict({'image': tfds.features.Image(shape=(64, 64, 3))})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, manager):
        listed = manager.download('http://nowhere.invalid/list.txt').read_text()
        path = manager.download(f'http://nowhere.invalid/{listed}')
        return {split: self._generate_examples(path) for split in ('train', 'test')}

    def _generate_examples(self, path):
        yield 0, {'image': np.full([64, 64, 3], int(path.read_text()), np.uint8)}


def test_an_archive_that_only_a_list_names_is_found_in_the_directory_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setitem(tfds_datasets.OWN_BUILDERS, 'emoji', Listed)
    (tmp_path / 'manual').mkdir()
    (tmp_path / 'manual' / 'list.txt').write_text('more.txt')
    (tmp_path / 'manual' / 'more.txt').write_text('7')
    builder = tfds_datasets.open_builder(data_of('emoji', tmp_path, image_size=64))
    ((image,),) = [each.values() for each in tfds.as_numpy(builder.as_dataset(split='train'))]
    assert (image == 7).all()


def celeb_a(files):
    names = [f'{number + 1:06}.jpg' for number in range(len(files))]
    attributes, landmarks = (
        list(tfds.builder('celeb_a').info.features[key]) for key in ('attributes', 'landmarks')
    )
    lines = {
        'list_eval_partition.txt': [
            f'{name} {max(0, number - TRAIN + 1)}' for number, name in enumerate(names)
        ],
        'list_attr_celeba.txt': [
            str(len(names)),
            ' '.join(attributes),
            *(' '.join([name, *['-1'] * len(attributes)]) for name in names),
        ],
        'list_landmarks_align_celeba.txt': [
            str(len(names)),
            ' '.join(landmarks),
            *(f'{name} {"7 " * len(landmarks)}' for name in names),
        ],
        'identity_CelebA.txt': [f'{name} {number}' for number, name in enumerate(names)],
    }
    pictures = packed({f'img_align_celeba/{name}': file for name, file in zip(names, files, strict=True)})
    return {'img_align_celeba.zip': pictures} | {
        name: '\n'.join([*rows, '']).encode() for name, rows in lines.items()
    }


def test_faces_of_celeb_a_are_cut_and_resized(tmp_path, monkeypatch):
    files = [encoded(picture.crop((0, 0, 178, 218))) for picture in photographs(TRAIN + 2, side=220)]
    data = data_of('celeb_a', tmp_path)
    put(
        celeb_a(files), tmp_path / 'manual', tfds_datasets.make_builder('celeb_a', data.data_dir), monkeypatch
    )
    loaded = pipeline.load_images(data, 'train')
    faces = [tf.io.decode_jpeg(file).numpy()[20:-20] for file in files[:TRAIN]]
    resized = [tf.image.resize(face.astype(np.float32), [64, 64], antialias=True) for face in faces]
    expected = [np.rint(np.clip(face, 0, 255)).astype(np.uint8) for face in resized]
    assert all(face.shape == (178, 178, 3) for face in faces)
    assert sorted(image.tobytes() for image in loaded) == sorted(face.tobytes() for face in expected)
    assert len(pipeline.load_images(data, 'test')) == 1


def test_an_archive_that_is_cut_off_ends_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    draws = np.random.default_rng(0)
    splits = [
        (draws.integers(0, 256, (n, 32, 32, 3), np.uint8), draws.integers(0, 10, n)) for n in (TRAIN, TEST)
    ]
    data = data_of('cifar10', tmp_path)
    put(
        cifar10(splits),
        tmp_path / 'manual',
        tfds_datasets.make_builder('cifar10', data.data_dir),
        monkeypatch,
    )
    path = tmp_path / 'manual/cifar-10-binary.tar.gz'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f'{path} is cut off: it has') as error:
        tfds_datasets.open_builder(data)
    assert '\n' not in str(error.value)
    assert not list(pathlib.Path(data.data_dir).rglob('*.tfrecord*')) and path.exists()


def test_a_manual_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=f'--manual_dir={tmp_path / "manual"} is not a directory'):
        tfds_datasets.open_builder(data_of('cifar10', tmp_path))
